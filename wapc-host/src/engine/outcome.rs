//! How calls of guests end, in no more than fits two registers: what is
//! returned in memory is waited for.

use std::fmt;

use crate::error::EngineError;

/// How a guest's `__guest_call` has returned, or has failed to: made from the
/// `Result` of [`GuestInstance::call`](crate::GuestInstance::call).
pub struct GuestReturn(pub(crate) Result<(), Box<Failed>>);

/// How a [`GuestCall`](crate::GuestCall) has ended; the host knows more of it.
// `Ok` is the clock's ticks since it began.
pub struct CallEnd(pub(crate) Result<u64, Box<Failed>>);

/// A call that has ended without a response.
pub(crate) struct Failed {
    pub(crate) returned: Result<i32, EngineError>,
    /// The clock's ticks since it began.
    pub(crate) ticks: u64,
}

impl GuestReturn {
    /// What it was made from.
    ///
    /// # Errors
    ///
    /// Those of [`GuestInstance::call`](crate::GuestInstance::call).
    #[inline]
    pub fn into_result(self) -> Result<i32, EngineError> {
        match self.0 {
            Ok(()) => Ok(1),
            Err(failed) => failed.returned,
        }
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
