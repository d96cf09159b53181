//! The answers of a plugin's host: configuration, variables, HTTP and logging.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use wapc_host::{BoxError, HostCall, HostCallback, error::Report};
use wapc_net::{HttpError, HttpLimits};

use crate::{
    HttpRequest,
    call_state::CallState,
    environment::{Environment, LogLevel},
};

/// The answers of a plugin's host.
pub(crate) struct Answers(pub(crate) Arc<Environment>);

impl Answers {
    fn http_request(&self, call: &HostCall<'_>, response: &mut Vec<u8>) -> Result<(), BoxError> {
        let request: HttpRequest = serde_json::from_str(call.namespace)
            .map_err(|error| format!("Invalid http request: {error}"))?;
        let mut limits = HttpLimits::default().max_response_bytes(self.0.max_http_response_bytes);
        if let Some(left) = call.time_left() {
            limits = limits.timeout(left.max(Duration::from_millis(1)));
        }
        let sent = wapc_net::HttpRequest::from(&request).body(call.payload);
        let answer = self
            .0
            .http
            .send(&sent, &limits)
            .map_err(|error| -> BoxError {
                match error {
                    HttpError::Url { url } => format!("Invalid URL: {url}").into(),
                    HttpError::HostNotAllowed { url, .. } => {
                        format!("HTTP request to {url} is not allowed").into()
                    }
                    HttpError::TooLarge { limit } => format!(
                        "HTTP response exceeds the configured maximum number of bytes: {limit}"
                    )
                    .into(),
                    HttpError::TimedOut { .. } => "timeout".into(),
                    other => Report::new(&other).to_string().into(),
                }
            })?;
        let headers = match self.0.allows_headers.load(Relaxed) {
            true => serde_json::to_vec(&answer.headers)?,
            false => Vec::new(),
        };
        response.extend(u32::from(answer.status).to_le_bytes());
        response.extend(u32::try_from(headers.len())?.to_le_bytes());
        response.extend(headers);
        response.extend(answer.body);
        Ok(())
    }
}

impl HostCallback for Answers {
    fn call(&self, call: HostCall<'_>, response: &mut Vec<u8>) -> Result<(), BoxError> {
        let level = match call.operation {
            "config_get" => {
                response.extend(
                    self.0
                        .config(call.namespace)
                        .unwrap_or_default()
                        .into_bytes(),
                );
                return Ok(());
            }
            "var_get" => {
                response.extend(self.0.vars().get(call.namespace).unwrap_or_default());
                return Ok(());
            }
            "var_set" => return Ok(self.0.vars().set(call.namespace, call.payload)?),
            "var_delete" => {
                self.0.vars().remove(call.namespace);
                return Ok(());
            }
            "http_request" => return self.http_request(&call, response),
            "returned" => {
                let state: Option<&CallState> = call.context();
                if let (Some(state), Ok(code)) = (state, call.payload.try_into()) {
                    state.code.store(i32::from_le_bytes(code), Relaxed);
                }
                return Ok(());
            }
            "log_trace" => LogLevel::Trace,
            "log_debug" => LogLevel::Debug,
            "log_info" => LogLevel::Info,
            "log_warn" => LogLevel::Warn,
            "log_error" => LogLevel::Error,
            other => return Err(format!("no function {other}").into()),
        };
        (self.0.log)(level, &String::from_utf8_lossy(call.payload));
        Ok(())
    }
}
