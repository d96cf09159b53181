//! What a service may know of the call that it answers.

use std::{any::Any, fmt, time::Duration};

#[cfg(not(target_arch = "wasm32"))]
use wapc_host::{HostCall, OwnedHostCall};

/// What a service may know of the call that it answers: a parameter `&CallContext` of a method, which is
/// not sent.
///
/// A host that serves its guests by a [`Router`](crate::Router) gives all of it. A guest that serves its
/// host knows nothing of its call, nor does a method that is called without a host, as in a unit test:
/// each method returns `None` then.
///
/// ```
/// use std::sync::Arc;
/// use wapc_host::{CallOptions, WapcHost, engine::scripted::ScriptedProvider};
/// use wapc_typed::{CallContext, Function, Router, service};
///
/// struct User(String);
///
/// #[service]
/// trait Notes {
///     #[wapc(op = "op", unary)]
///     fn add(&self, context: &CallContext, note: String) -> Result<String, String>;
/// }
///
/// struct Shared;
/// impl Notes for Shared {
///     fn add(&self, context: &CallContext, note: String) -> Result<String, String> {
///         let user: &User = context.user_context().ok_or("nobody is logged in")?;
///         Ok(format!("{}: {note}", user.0))
///     }
/// }
///
/// // A guest that passes its payload on to operation `op` of binding `bind`.
/// let guest = ScriptedProvider::new(|guest, op_length, msg_length| {
///     let (_, payload) = guest.request(op_length, msg_length)?;
///     match guest.ask(&payload)? {
///         Ok(answer) => guest.respond(&answer),
///         Err(error) => guest.fail(&error),
///     }
/// });
/// let router = Router::new().service("bind", NotesServer::new(Shared));
/// let host = WapcHost::builder(Box::new(guest)).build_with(router)?;
/// let options = CallOptions::default().context(Arc::new(User("Ada".to_owned())));
/// let note: Function<String, String> = Function::named("note");
/// assert_eq!(note.call(&host.with(&options), &"tea".to_owned())?, "Ada: tea");
///
/// // Without a host:
/// let refused = Shared.add(&CallContext::none(), "tea".to_owned());
/// assert_eq!(refused.unwrap_err(), "nobody is logged in");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Default)]
pub struct CallContext<'c> {
    #[cfg(not(target_arch = "wasm32"))]
    call: Option<GuestsCall<'c>>,
    #[cfg(target_arch = "wasm32")]
    call: std::marker::PhantomData<&'c ()>,
}

/// The call of a guest, to be asked when something of it is wanted.
#[cfg(not(target_arch = "wasm32"))]
#[derive(Clone, Copy)]
enum GuestsCall<'c> {
    Blocking(&'c HostCall<'c>),
    Async(&'c OwnedHostCall),
}

/// Asks the call, if there is one.
macro_rules! ask {
    ($context:ident, $call:ident => $of_blocking:expr, $of_async:expr) => {{
        #[cfg(not(target_arch = "wasm32"))]
        {
            match $context.call? {
                GuestsCall::Blocking($call) => $of_blocking,
                GuestsCall::Async($call) => $of_async,
            }
        }
        #[cfg(target_arch = "wasm32")]
        {
            None
        }
    }};
}

#[cfg_attr(
    target_arch = "wasm32",
    expect(clippy::unused_self, reason = "a guest knows nothing of its call")
)]
impl<'c> CallContext<'c> {
    /// Returns the context of a method that is called without a host, as in a unit test.
    #[must_use]
    pub const fn none() -> Self {
        Self {
            #[cfg(not(target_arch = "wasm32"))]
            call: None,
            #[cfg(target_arch = "wasm32")]
            call: std::marker::PhantomData,
        }
    }

    /// Returns the id of the host whose guest is calling.
    #[must_use]
    pub fn host_id(&self) -> Option<u64> {
        ask!(self, call => Some(call.host_id), Some(call.host_id()))
    }

    /// Returns the number of the guest's code, which grows by each swap.
    #[must_use]
    pub fn generation(&self) -> Option<u64> {
        ask!(self, call => Some(call.generation), Some(call.generation()))
    }

    /// Returns the time left for the guest's call, in multiples of 2 ms; `None` if it has no limit.
    #[must_use]
    pub fn time_left(&self) -> Option<Duration> {
        ask!(self, call => call.time_left(), call.time_left())
    }

    /// Returns `true` if the guest's call has been cancelled, so that its result is of no use.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        let is_cancelled =
            || ask!(self, call => Some(call.is_cancelled()), Some(call.is_cancelled()));
        is_cancelled().unwrap_or(false)
    }

    /// Returns the context of the guest's call (`CallOptions::context`), if it has one of type `T`.
    #[must_use]
    pub fn user_context<T: Any>(&self) -> Option<&'c T> {
        ask!(self, call => call.context(), call.context())
    }

    /// Returns the trace of the guest's call (`CallOptions::trace`).
    #[must_use]
    pub fn trace(&self) -> Option<&'c str> {
        ask!(self, call => call.trace(), call.trace())
    }
}

#[cfg(not(target_arch = "wasm32"))]
impl<'c> From<&'c HostCall<'_>> for CallContext<'c> {
    fn from(call: &'c HostCall<'_>) -> Self {
        let call = Some(GuestsCall::Blocking(call));
        Self { call }
    }
}

#[cfg(not(target_arch = "wasm32"))]
impl<'c> From<&'c OwnedHostCall> for CallContext<'c> {
    fn from(call: &'c OwnedHostCall) -> Self {
        let call = Some(GuestsCall::Async(call));
        Self { call }
    }
}

/// Not what the user's context holds, which may be a secret.
impl fmt::Debug for CallContext<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallContext")
            .field("host_id", &self.host_id())
            .field("generation", &self.generation())
            .field("trace", &self.trace())
            .finish_non_exhaustive()
    }
}
