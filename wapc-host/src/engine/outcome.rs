//! Register-sized results of guest calls. A `Result` with a large error would
//! be returned through memory and stall the caller.

use std::fmt;

use crate::{error::EngineError, protocol::state::ModuleState};

/// The outcome of a guest's `__guest_call`: the number that it returned, or the
/// error that has ended it. It converts from a `Result`.
///
/// ```
/// use wapc_host::{engine::GuestReturn, error::{EngineError, Trap, TrapCode}};
///
/// let responded = GuestReturn::from(Ok(1));
/// assert_eq!(format!("{responded:?}"), "GuestReturn(Ok(1))");
/// let trapped = GuestReturn::from(Err(Trap::new(TrapCode::Unreachable, vec![]).into()));
/// assert!(format!("{trapped:?}").contains("Unreachable"));
/// ```
pub struct GuestReturn(pub(crate) Result<(), Box<Failed>>);

/// The outcome of a whole [`GuestCall`](crate::engine::GuestCall), for the host.
// `Ok` has the clock's ticks since the call began.
pub struct CallEnd(pub(crate) Result<u64, Box<Failed>>);

/// The outcome of a call without a response.
pub(crate) struct Failed {
    pub(crate) returned: Result<i32, EngineError>,
    /// The clock's ticks since the call began.
    pub(crate) ticks: u64,
}

impl GuestReturn {
    /// The end of a call that the guest has returned from. `Ok` if it has set a
    /// response.
    #[inline]
    pub(crate) fn end(self, state: &ModuleState) -> CallEnd {
        match self.0 {
            Ok(()) if state.has_responded() => CallEnd(Ok(state.ticks())),
            Ok(()) => CallEnd::failed(Failed::boxed(Ok(1)), state),
            Err(failed) => CallEnd::failed(failed, state),
        }
    }
}

impl CallEnd {
    #[cold]
    fn failed(mut failed: Box<Failed>, state: &ModuleState) -> Self {
        failed.ticks = state.ticks();
        Self(Err(failed))
    }
}

impl From<Result<i32, EngineError>> for GuestReturn {
    #[inline]
    fn from(returned: Result<i32, EngineError>) -> Self {
        Self(match returned {
            Ok(1) => Ok(()),
            returned => Err(Failed::boxed(returned)),
        })
    }
}

impl Failed {
    #[cold]
    pub(crate) fn boxed(returned: Result<i32, EngineError>) -> Box<Self> {
        Box::new(Self { returned, ticks: 0 })
    }
}

impl fmt::Debug for GuestReturn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let returned = self
            .0
            .as_ref()
            .map_or_else(|failed| failed.returned.as_ref().copied(), |()| Ok(1));
        f.debug_tuple("GuestReturn").field(&returned).finish()
    }
}

impl fmt::Debug for CallEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallEnd")
            .field("answered", &self.0.is_ok())
            .finish_non_exhaustive()
    }
}
