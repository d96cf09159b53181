//! The guest's side: calls of its host.

use crate::{Call, CallContext, Failure, Serve};

/// The host of this guest, by a binding. A client over it calls the host's services.
#[derive(Clone, Copy, Debug)]
pub struct Host<'n> {
    binding: &'n str,
    namespace: &'n str,
}

/// Returns the host, by a binding.
#[must_use]
pub const fn host(binding: &str) -> Host<'_> {
    Host {
        binding,
        namespace: "",
    }
}

impl<'n> Host<'n> {
    /// Sets waPC's namespace, which is empty at first.
    #[must_use]
    pub const fn namespace(self, namespace: &'n str) -> Self {
        Self { namespace, ..self }
    }
}

const PREFIX: &str = "Host error: ";

impl Call for Host<'_> {
    fn call_bytes<R: Send>(
        &self,
        operation: &str,
        payload: &[u8],
        mut read: impl FnMut(&[u8]) -> R + Send,
    ) -> Result<R, Failure> {
        match wapc_guest::host_call(self.binding, self.namespace, operation, payload) {
            Ok(response) => Ok(read(&response)),
            Err(error) => {
                let mut text = error.to_string();
                // `wapc-guest` puts a word of its own in front of the host's.
                if text.starts_with(PREFIX) {
                    text.drain(..PREFIX.len());
                }
                Err(Failure::Text(text))
            }
        }
    }
}

/// The type of a function that answers an operation: [`wapc_guest::register_function`] takes it.
pub type Handler = fn(&[u8]) -> wapc_guest::CallResult;

/// Registers a function for an operation.
pub fn register(operation: &str, handler: Handler) {
    wapc_guest::register_function(operation, handler);
}

/// Answers a call of a service.
///
/// # Errors
///
/// The text of the service's error.
pub fn answer(service: &impl Serve, operation: &str, payload: &[u8]) -> wapc_guest::CallResult {
    let mut response = Vec::new();
    match service.serve(&CallContext::none(), operation, payload, &mut response) {
        Ok(()) => Ok(response),
        Err(error) => Err(error.to_string().into()),
    }
}
