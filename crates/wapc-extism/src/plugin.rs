//! A plugin, and its calls.

use std::{
    any::Any,
    borrow::Cow,
    collections::BTreeSet,
    fmt,
    sync::{Arc, PoisonError, atomic::Ordering::Relaxed},
};

use uuid::Uuid;
use wapc_host::{CallOptions, WapcHost};

use crate::{
    CallError, CancelHandle, Error, FromBytes, ToBytes, VarError, call_state::CallState,
    environment::Environment, vars::lock,
};

/// A plugin: one instance of its modules, with variables and a configuration.
///
/// A call that traps, exceeds a limit or is cancelled ends the instance, and the next call has a new one.
/// Variables and configuration stay.
pub struct Plugin {
    host: WapcHost,
    environment: Arc<Environment>,
    exports: Arc<BTreeSet<String>>,
    state: Arc<CallState>,
    options: CallOptions,
    has_context: bool,
    output: Vec<u8>,
    /// Set if the last call was of `_start`, which leaves nothing to the next.
    was_command: bool,
}

impl Plugin {
    pub(crate) fn of(
        host: WapcHost,
        environment: Arc<Environment>,
        exports: Arc<BTreeSet<String>>,
        fuel: Option<u64>,
    ) -> Self {
        let state = Arc::new(CallState::new(environment.clone()));
        let mut options = CallOptions::default().context(state.clone());
        options.fuel = fuel;
        Self {
            host,
            environment,
            exports,
            options,
            state,
            has_context: false,
            output: Vec::new(),
            was_command: false,
        }
    }

    /// Calls an export with an input, and returns its output.
    ///
    /// # Errors
    ///
    /// [`Error::Call`] if the call has failed, or the export has returned another code than 0;
    /// [`Error::Convert`] if input or output cannot be converted.
    pub fn call<I: ToBytes, O: FromBytes>(
        &mut self,
        name: impl AsRef<str>,
        input: I,
    ) -> Result<O, Error> {
        match self.run(name.as_ref(), &input, None)? {
            0 => self.convert(),
            code => Err(CallError::returned(code).into()),
        }
    }

    /// As [`Plugin::call`], without blocking the thread while the plugin computes for long, waits in WASI, or awaits a
    /// function of the host ([`Function::new_async`](crate::Function::new_async)). Other functions, and the plugin's HTTP
    /// requests, run on the thread that polls.
    ///
    /// # Errors
    ///
    /// As [`Plugin::call`].
    pub async fn call_async<I: ToBytes, O: FromBytes>(
        &mut self,
        name: impl AsRef<str>,
        input: I,
    ) -> Result<O, Error> {
        let name = name.as_ref();
        let input = convert_input(&input)?.into_owned();
        self.begin(name, None);
        let call = self.host.with(&self.options);
        let called = call.call_into_async(name, input, &mut self.output).await;
        match self.end(name, called)? {
            0 => self.convert(),
            code => Err(CallError::returned(code).into()),
        }
    }

    /// As [`Plugin::call`], with a value for functions of the host
    /// ([`CurrentPlugin::host_context`](crate::CurrentPlugin::host_context)). Codes are no errors.
    ///
    /// # Errors
    ///
    /// As [`Plugin::call`], but for the code.
    pub fn call_with_host_context<I: ToBytes, O: FromBytes, C: Any + Send + Sync>(
        &mut self,
        name: impl AsRef<str>,
        input: I,
        context: C,
    ) -> Result<O, Error> {
        self.run(name.as_ref(), &input, Some(Arc::new(context)))?;
        self.convert()
    }

    /// As [`Plugin::call`], with the code of a failure beside it. A code without an error is none.
    ///
    /// # Errors
    ///
    /// As [`Plugin::call`], with [`CallError::code`], or -1.
    #[expect(clippy::result_large_err, reason = "Extism has it so")]
    pub fn call_get_error_code<I: ToBytes, O: FromBytes>(
        &mut self,
        name: impl AsRef<str>,
        input: I,
    ) -> Result<O, (Error, i32)> {
        let code_of = |error| match &error {
            Error::Call(CallError { code, .. }) => {
                let code = *code;
                (error, code)
            }
            _ => (error, -1),
        };
        self.run(name.as_ref(), &input, None).map_err(code_of)?;
        self.convert().map_err(code_of)
    }

    /// Returns the output of the last call.
    #[must_use]
    pub fn output(&self) -> &[u8] {
        &self.output
    }

    fn convert<O: FromBytes>(&self) -> Result<O, Error> {
        O::from_bytes(&self.output).map_err(|source| Error::Convert {
            what: "output",
            source,
        })
    }

    /// Returns the code.
    fn run(
        &mut self,
        name: &str,
        input: &dyn ToBytes,
        context: Option<Arc<dyn Any + Send + Sync>>,
    ) -> Result<i32, Error> {
        let input = convert_input(input)?;
        Ok(self.call_raw(name, &input, context)?)
    }

    /// As [`Plugin::call_with_host_context`], for C: returns the code, and leaves the output to [`Plugin::output`].
    #[doc(hidden)]
    pub fn call_raw(
        &mut self,
        name: &str,
        input: &[u8],
        context: Option<Arc<dyn Any + Send + Sync>>,
    ) -> Result<i32, CallError> {
        self.begin(name, context);
        let call = self.host.with(&self.options);
        let called = call.call_into(name, input, &mut self.output);
        self.end(name, called)
    }

    fn begin(&mut self, name: &str, context: Option<Arc<dyn Any + Send + Sync>>) {
        if self.was_command {
            self.environment.vars().clear();
        }
        self.was_command = name == "_start";
        self.state.code.store(0, Relaxed);
        // After a call that has panicked, its context is still there.
        if context.is_some() || self.has_context {
            self.has_context = context.is_some();
            *lock(&self.state.host_context) = context;
        }
        self.output.clear();
        // A handle serves until it has cancelled: at rest it would cancel the next call.
        if let Some(cancel) = self.environment.cancel.get()
            && (self.options.cancel.as_ref()).is_none_or(wapc_host::CancelHandle::is_cancelled)
        {
            self.options.cancel = Some(cancel.renew());
        }
    }

    /// Ends a call. Returns its code.
    fn end(&mut self, name: &str, called: Result<(), wapc_host::Error>) -> Result<i32, CallError> {
        if self.has_context {
            self.has_context = false;
            *lock(&self.state.host_context) = None;
        }
        let code = self.state.code.load(Relaxed);
        match called {
            Ok(()) => Ok(code),
            Err(error) => {
                self.output.clear();
                Err(CallError::new(error, code, self.exports.contains(name)))
            }
        }
    }

    /// Returns whether the plugin has an export that can be called: one without parameters and with at
    /// most one result. After a swap of the host below, the answer is still that of the first code.
    #[must_use]
    pub fn function_exists(&self, name: impl AsRef<str>) -> bool {
        self.exports.contains(name.as_ref())
    }

    /// Returns a handle that cancels the call that runs, from any thread. Without one, it has no effect.
    #[must_use]
    pub fn cancel_handle(&self) -> CancelHandle {
        self.environment
            .cancel
            .get_or_init(Default::default)
            .clone()
    }

    /// Returns the plugin's id, which is random (version 4).
    #[must_use]
    pub fn id(&self) -> Uuid {
        self.environment.id
    }

    /// Returns the host below, for swaps, statistics and calls from several threads. Its calls have no host context, and
    /// codes of theirs are not seen.
    ///
    /// [`WapcHost::replace_module`] takes a module or a manifest, of which only the modules count.
    #[must_use]
    pub const fn host(&self) -> &WapcHost {
        &self.host
    }

    /// Returns a key of the configuration.
    #[must_use]
    pub fn config(&self, key: &str) -> Option<String> {
        self.environment.config(key)
    }

    /// Sets a key of the configuration, or removes it.
    pub fn set_config(&mut self, key: impl Into<String>, value: Option<String>) {
        let config = self.environment.config.write();
        let mut config = config.unwrap_or_else(PoisonError::into_inner);
        match value {
            Some(value) => _ = config.insert(key.into(), value),
            None => _ = config.remove(&key.into()),
        }
    }

    /// Forgets the output of the last call. Blocks, input and error of a call are forgotten at its end anyway; variables,
    /// configuration and the plugin's own state stay.
    pub fn reset(&mut self) {
        self.output = Vec::new();
    }

    /// Returns a variable.
    #[must_use]
    pub fn var(&self, key: &str) -> Option<Vec<u8>> {
        self.environment.vars().get(key).map(<[u8]>::to_vec)
    }

    /// Sets a variable.
    ///
    /// # Errors
    ///
    /// [`VarError`] if it exceeds the manifest's limit.
    pub fn set_var(&mut self, key: &str, value: &[u8]) -> Result<(), VarError> {
        self.environment.vars().set(key, value)
    }

    /// Sets whether the plugin sees the headers of HTTP responses.
    pub fn allow_http_response_headers(&mut self, allows: bool) {
        self.environment.allows_headers.store(allows, Relaxed);
    }
}

fn convert_input(input: &dyn ToBytes) -> Result<Cow<'_, [u8]>, Error> {
    let what = "input";
    input
        .to_bytes()
        .map_err(|source| Error::Convert { what, source })
}

impl fmt::Debug for Plugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plugin")
            .field("id", &self.id())
            .field("exports", &self.exports)
            .finish_non_exhaustive()
    }
}
