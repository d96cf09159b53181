//! The answers of a plugin's host: configuration, variables, HTTP, logging, and functions of the user's.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use wapc_host::{BoxError, HostCall, HostCallback};
use wapc_net::{HttpClient, HttpError, HttpLimits};

use crate::{
    Function, HttpRequest,
    call_state::{CallState, lock},
    vars::Vars,
};

/// The level of a log line.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
#[expect(clippy::exhaustive_enums, reason = "Extism's levels")]
pub enum LogLevel {
    /// 0.
    Trace,
    /// 1.
    Debug,
    /// 2.
    Info,
    /// 3.
    Warn,
    /// 4.
    Error,
}

pub(crate) type LogSink = dyn Fn(LogLevel, &str) + Send + Sync;

/// The state that the calls of one plugin share with its host.
pub(crate) struct Environment {
    pub(crate) config: RwLock<BTreeMap<String, String>>,
    pub(crate) vars: Mutex<Vars>,
    /// By namespace, then by name.
    pub(crate) functions: Arc<Functions>,
    pub(crate) http: HttpClient,
    pub(crate) max_http_response_bytes: usize,
    pub(crate) allows_headers: AtomicBool,
    pub(crate) log: Arc<LogSink>,
}

pub(crate) type Functions = HashMap<String, HashMap<String, Function>>;

impl Environment {
    pub(crate) fn vars(&self) -> MutexGuard<'_, Vars> {
        lock(&self.vars)
    }

    fn http_request(&self, call: &HostCall<'_>, response: &mut Vec<u8>) -> Result<(), BoxError> {
        let request: HttpRequest = serde_json::from_str(call.namespace)
            .map_err(|error| format!("Invalid http request: {error}"))?;
        let mut limits = HttpLimits::default().max_response_bytes(self.max_http_response_bytes);
        if let Some(left) = call.time_left() {
            limits = limits.timeout(left.max(Duration::from_millis(1)));
        }
        let sent = wapc_net::HttpRequest::from(&request).body(call.payload);
        let answer = self
            .http
            .send(&sent, &limits)
            .map_err(|error| match error {
                HttpError::Url { url } => format!("Invalid URL: {url}").into(),
                HttpError::HostNotAllowed { url, .. } => {
                    format!("HTTP request to {url} is not allowed").into()
                }
                HttpError::TooLarge { limit } => {
                    format!("HTTP response exceeds the configured maximum number of bytes: {limit}")
                        .into()
                }
                HttpError::TimedOut { .. } => "timeout".into(),
                other => BoxError::from(other),
            })?;
        let headers = match self.allows_headers.load(Relaxed) {
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

impl HostCallback for Environment {
    fn call(&self, call: HostCall<'_>, response: &mut Vec<u8>) -> Result<(), BoxError> {
        if call.binding == crate::EXTISM_USER_MODULE {
            let function = self.functions.get(call.namespace);
            return match function.and_then(|functions| functions.get(call.operation)) {
                Some(function) => function.answer(&self.vars, &call, response),
                None => Err(format!("no function {}::{}", call.namespace, call.operation).into()),
            };
        }
        let level = match call.operation {
            "config_get" => {
                let config = self.config.read().unwrap_or_else(PoisonError::into_inner);
                response.extend(
                    config
                        .get(call.namespace)
                        .map_or("", |value| value)
                        .as_bytes(),
                );
                return Ok(());
            }
            "var_get" => {
                response.extend(self.vars().get(call.namespace).unwrap_or_default());
                return Ok(());
            }
            "var_set" => return Ok(self.vars().set(call.namespace, call.payload)?),
            "var_delete" => {
                self.vars().remove(call.namespace);
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
        (self.log)(level, &String::from_utf8_lossy(call.payload));
        Ok(())
    }
}
