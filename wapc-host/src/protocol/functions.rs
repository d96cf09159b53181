//! Host functions of the user's own: any signature of numbers, by module and name.

use std::{
    collections::BTreeMap,
    fmt,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use crate::{
    error::{BoxError, FunctionError, MemoryError, Report, StopReason},
    module::{ExternType, GuestShape, ModuleError, ValueType, provided},
    protocol::host_call::BoxFuture,
    protocol::reentrancy::ReentrancyGuard,
    stack::OnGuestStack,
};

pub(crate) use self::call::CallDetails;
pub use self::{
    call::{AsyncFunctionCall, FunctionCall, FunctionGuest},
    pending::PendingFunction,
    values::{Value, Values},
};

mod call;
mod memory;
mod pending;
mod values;

/// Functions that a host provides to guests beside those of waPC and WASI: closures over
/// numbers, by the module and the name under which guests import them.
///
/// A provider's builder takes them, and so they hold for the modules of later swaps too.
///
/// A closure gets the call ([`FunctionCall`]: the guest's memory, the context of the call) and
/// the numbers that the guest passed: nothing (`()`), one number or a tuple of at most ten, of
/// the types `i32`, `u32`, `i64`, `u64`, `f32` and `f64`. It returns the results in the same
/// forms. A guest that imports the function with other types is refused when it is compiled.
///
/// ```
/// use wapc_host::HostFunctions;
///
/// let functions = HostFunctions::new()
///     .function("env", "add", |_, (a, b): (i32, i32)| Ok(a.wrapping_add(b)))
///     .function("env", "upper", |call, (pointer, length): (u32, u32)| {
///         call.read_mut(pointer, length)?.make_ascii_uppercase();
///         Ok(())
///     })
///     .async_function("env", "fetch", |call, (pointer, length): (u32, u32)| async move {
///         let name = call.read(pointer, length).await?;
///         // Other work is awaited here. The guest is suspended meanwhile.
///         call.write(pointer, name.to_ascii_uppercase()).await?;
///         Ok(length)
///     });
/// # _ = functions;
/// ```
///
/// A closure runs on the thread that runs the guest; several threads may run it at a time. An
/// `Err` ends the guest's call with [`Error::Function`](crate::Error::Function). A panic ends it
/// as well, and is resumed in the caller, as that of a callback. The deadline and the cancel handle
/// of the call hold: a closure cannot be interrupted, but the call ends when it returns, and the
/// future of an async one is dropped. Each call of a function counts for
/// [`Limits::max_host_calls`](crate::Limits::max_host_calls).
///
/// waPC's and WASI's own functions cannot be replaced: a module is refused with
/// [`ModuleError::NameTaken`]. Those that compilers import from `env` can.
#[derive(Clone, Default)]
pub struct HostFunctions {
    modules: BTreeMap<String, BTreeMap<String, Arc<HostFunction>>>,
    allows_missing_imports: bool,
    uses_wapc_memory: bool,
    /// The first function that has a name of waPC or WASI.
    taken: Option<(String, String)>,
}

/// One function of [`HostFunctions`], linked by an engine.
pub struct HostFunction {
    module: String,
    name: String,
    parameters: Vec<ValueType>,
    results: Vec<ValueType>,
    body: Body,
}

type Blocking =
    dyn Fn(&mut FunctionCall<'_>, &[Value], &mut [Value]) -> Result<(), BoxError> + Send + Sync;
type Async = dyn Fn(AsyncFunctionCall, &[Value]) -> FunctionFuture + Send + Sync;
type FunctionFuture = BoxFuture<'static, Result<Vec<Value>, BoxError>>;

enum Body {
    Blocking(Box<Blocking>),
    Async(Box<Async>),
    /// The host does not provide it.
    Missing,
}

impl HostFunctions {
    /// Returns no functions.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the function `module.name`, which runs to its end before the guest goes on. A later
    /// one of the same name replaces it.
    #[must_use]
    pub fn function<P: Values, R: Values>(
        self,
        module: &str,
        name: &str,
        function: impl Fn(&mut FunctionCall<'_>, P) -> Result<R, BoxError> + Send + Sync + 'static,
    ) -> Self {
        let body = move |call: &mut FunctionCall<'_>, numbers: &[Value], results: &mut [Value]| {
            let parameters = P::from_values(numbers).ok_or_else(mismatch)?;
            function(call, parameters)?.write(results);
            Ok(())
        };
        self.with::<P, R>(module, name, Body::Blocking(Box::new(body)))
    }

    /// Adds the function `module.name`, a closure that returns a future. The guest is suspended
    /// until the future has ended.
    ///
    /// Only guests of async calls can be suspended
    /// ([`WapcHost::call_async`](crate::WapcHost::call_async)), whatever kind of callback the host
    /// has. In a blocking call, and in start functions of a host that was built by one, the guest is ended
    /// with [`FunctionError::Awaits`].
    #[must_use]
    pub fn async_function<P: Values, R: Values, F>(
        self,
        module: &str,
        name: &str,
        function: impl Fn(AsyncFunctionCall, P) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Result<R, BoxError>> + Send + 'static,
    {
        let body = move |call: AsyncFunctionCall, numbers: &[Value]| -> FunctionFuture {
            let running = P::from_values(numbers).map(|parameters| function(call, parameters));
            Box::pin(async move {
                let results = running.ok_or_else(mismatch)?.await?;
                let mut values = vec![Value::I32(0); R::types().len()];
                results.write(&mut values);
                Ok(values)
            })
        };
        self.with::<P, R>(module, name, Body::Async(Box::new(body)))
    }

    /// Adds the function `module.name`, whose types are known at run time only, as in bindings for other
    /// languages. `function` gets the numbers, and a place for each result. Engines pass at most
    /// [`HostFunction::MAX_VALUES`] of each.
    #[doc(hidden)]
    #[must_use]
    pub fn dynamic(
        self,
        module: &str,
        name: &str,
        parameters: Vec<ValueType>,
        results: Vec<ValueType>,
        function: impl Fn(&mut FunctionCall<'_>, &[Value], &mut [Value]) -> Result<(), BoxError>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        let body = Body::Blocking(Box::new(function));
        self.with_types(module, name, (parameters, results), body)
    }

    /// Accepts guests that import functions which nobody provides. A guest that calls one is
    /// ended with [`FunctionError::Missing`]. By default such a guest is refused when it is
    /// compiled, with [`ModuleError::UnknownImport`].
    ///
    /// Imports of memories, tables and globals are refused all the same.
    #[must_use]
    pub const fn allow_missing_imports(mut self) -> Self {
        self.allows_missing_imports = true;
        self
    }

    /// Has all functions see the memory of waPC's functions: the export `wapc:memory` of a guest that has
    /// it apart from its own. By default they see the export `memory`.
    #[must_use]
    pub const fn with_wapc_memory(mut self) -> Self {
        self.uses_wapc_memory = true;
        self
    }

    /// Returns `true` if the functions see the memory of waPC's functions. For engines.
    #[must_use]
    pub const fn uses_wapc_memory(&self) -> bool {
        self.uses_wapc_memory
    }

    fn with<P: Values, R: Values>(self, module: &str, name: &str, body: Body) -> Self {
        self.with_types(module, name, (P::types(), R::types()), body)
    }

    fn with_types(
        mut self,
        module: &str,
        name: &str,
        (parameters, results): (Vec<ValueType>, Vec<ValueType>),
        body: Body,
    ) -> Self {
        if module != "env" && provided(module, name).is_some() {
            self.taken
                .get_or_insert_with(|| (module.into(), name.into()));
        }
        let function = HostFunction {
            module: module.into(),
            name: name.into(),
            parameters,
            results,
            body,
        };
        let functions = self.modules.entry(module.into()).or_default();
        functions.insert(name.into(), Arc::new(function));
        self
    }

    /// Checks a module's imports (module, name, type) and exports (name, type) like
    /// [`GuestShape::new`], with these functions among those that the host provides. For engines.
    ///
    /// # Errors
    ///
    /// [`ModuleError::NameTaken`] if one of these has the name of a function of waPC or WASI;
    /// otherwise the same as of [`GuestShape::new`].
    pub fn shape<'m>(
        &self,
        imports: impl IntoIterator<Item = (&'m str, &'m str, ExternType)>,
        exports: impl IntoIterator<Item = (&'m str, ExternType)>,
    ) -> Result<GuestShape, ModuleError> {
        if let Some((module, name)) = self.taken.clone() {
            return Err(ModuleError::NameTaken { module, name });
        }
        GuestShape::with_functions(imports, exports, &|module, name, expected| {
            if let Some(function) = self.find(module, name) {
                let types = (function.parameters.clone(), function.results.clone());
                return Some(ExternType::Function(types.0, types.1));
            }
            provided(module, name).or_else(|| {
                let is_function = matches!(expected, ExternType::Function(..));
                (self.allows_missing_imports && is_function).then(|| expected.clone())
            })
        })
    }

    /// Returns the function to link for an import that [`HostFunctions::shape`] has accepted;
    /// `None` for one of waPC, WASI or the compilers. For engines.
    #[must_use]
    pub fn resolve(&self, module: &str, name: &str) -> Option<Arc<HostFunction>> {
        if let Some(function) = self.find(module, name) {
            return Some(Arc::clone(function));
        }
        let missing = || {
            Arc::new(HostFunction {
                module: module.into(),
                name: name.into(),
                parameters: vec![],
                results: vec![],
                body: Body::Missing,
            })
        };
        provided(module, name).is_none().then(missing)
    }

    fn find(&self, module: &str, name: &str) -> Option<&Arc<HostFunction>> {
        self.modules.get(module)?.get(name)
    }
}

impl HostFunction {
    /// The greatest number of parameters of a function, and of results.
    pub const MAX_VALUES: usize = values::MAX_VALUES;

    /// Returns `true` if the guest is suspended in it. Then an engine that can suspend guests must
    /// link [`HostFunction::start`].
    #[must_use]
    pub const fn is_async(&self) -> bool {
        matches!(self.body, Body::Async(_))
    }

    /// Runs the function, and writes its results. One that awaits ends the guest.
    ///
    /// The engine passes the guest's numbers in their order, and a place for each result.
    ///
    /// # Errors
    ///
    /// [`StopReason::Function`] if the function fails, awaits or is missing;
    /// [`LimitError::HostCalls`](crate::error::LimitError::HostCalls) if the guest has made too
    /// many calls; [`StopReason::TimedOut`] or [`StopReason::Cancelled`] if its time is over;
    /// [`ProtocolError::CallbackPanicked`](crate::error::ProtocolError::CallbackPanicked) if the
    /// closure has panicked.
    pub fn call(
        &self,
        guest: &mut dyn FunctionGuest,
        numbers: &[Value],
        results: &mut [Value],
    ) -> Result<(), StopReason> {
        match &self.body {
            Body::Blocking(function) => self.run(&**function, guest, numbers, results),
            Body::Async(_) => {
                guest.state().check()?;
                Err(self.awaits())
            }
            Body::Missing => {
                guest.state().check()?;
                let (module, name) = self.names();
                Err(FunctionError::Missing { module, name }.into())
            }
        }
    }

    /// Runs the function like [`HostFunction::call`], or starts to run one that awaits. The engine
    /// suspends the guest, and polls what is pending.
    ///
    /// # Errors
    ///
    /// The same as of [`HostFunction::call`].
    pub fn start(
        self: &Arc<Self>,
        guest: &mut dyn FunctionGuest,
        numbers: &[Value],
        results: &mut [Value],
    ) -> Result<Option<PendingFunction>, StopReason> {
        let Body::Async(function) = &self.body else {
            return self.call(guest, numbers, results).map(|()| None);
        };
        let state = guest.state();
        state.check()?;
        if !state.may_await() {
            return Err(self.awaits());
        }
        state.count_function_call()?;
        let (details, mailbox) = (state.call_details(), Arc::default());
        let host_id = details.host_id;
        let call = AsyncFunctionCall::new(details, Arc::clone(&mailbox));
        let begun = catch_unwind(AssertUnwindSafe(|| {
            let _guard = ReentrancyGuard::scoped(host_id);
            let _stack = OnGuestStack::enter(true);
            function(call, numbers)
        }));
        match begun {
            Ok(future) => {
                let limits = guest.state().wait_limits();
                let function = Arc::clone(self);
                Ok(Some(PendingFunction::new(
                    function, host_id, future, limits, mailbox,
                )))
            }
            Err(panic) => Err(guest.state().foreign_panicked(FUNCTION, panic)),
        }
    }

    fn run(
        &self,
        function: &Blocking,
        guest: &mut dyn FunctionGuest,
        numbers: &[Value],
        results: &mut [Value],
    ) -> Result<(), StopReason> {
        let state = guest.state();
        state.check()?;
        state.count_function_call()?;
        let is_async = state.may_await();
        let details = state.call_details();
        let host_id = details.host_id;
        let mut call = FunctionCall::new(details, guest);
        // Unwind safety: after a panic the instance is dropped, so its state is not observed.
        let ended = catch_unwind(AssertUnwindSafe(|| {
            let _guard = ReentrancyGuard::scoped(host_id);
            let _stack = OnGuestStack::enter(is_async);
            function(&mut call, numbers, results)
                // An error's text is the user's code too.
                .map_err(|error| self.failed(&error))
        }));
        match ended {
            Ok(ended) => ended?,
            Err(panic) => return Err(guest.state().foreign_panicked(FUNCTION, panic)),
        }
        guest.state().check()
    }

    /// Returns the error of a guest whose function has returned `error`.
    fn failed(&self, error: &BoxError) -> StopReason {
        let (module, name) = self.names();
        StopReason::from(match error.downcast_ref() {
            Some(MemoryError::OutOfBounds {
                pointer,
                length,
                memory,
            }) => FunctionError::OutOfBounds {
                module,
                name,
                pointer: *pointer,
                length: *length,
                memory: *memory,
            },
            _ => FunctionError::Failed {
                module,
                name,
                message: Report::new(&**error).to_string(),
            },
        })
    }

    fn awaits(&self) -> StopReason {
        let (module, name) = self.names();
        FunctionError::Awaits { module, name }.into()
    }

    fn names(&self) -> (String, String) {
        (self.module.clone(), self.name.clone())
    }
}

/// The name of all these functions in an error that callers never get.
const FUNCTION: &str = "a host function";

/// The error of an engine that passes other numbers than the function's type says.
fn mismatch() -> BoxError {
    "the engine has passed numbers of other types".into()
}

impl fmt::Debug for HostFunctions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let functions = self.modules.values().flat_map(BTreeMap::values);
        f.debug_struct("HostFunctions")
            .field("functions", &functions.collect::<Vec<_>>())
            .field("allows_missing_imports", &self.allows_missing_imports)
            .field("uses_wapc_memory", &self.uses_wapc_memory)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for HostFunction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.module, self.name)
    }
}
