//! The contract between the host and an engine: for those who write an engine,
//! or call guests without a host.

pub use self::{
    guest_call::GuestCall,
    outcome::{CallEnd, GuestReturn},
    provider::{AsyncCall, GuestInstance},
};
pub use crate::protocol::{
    budget::CallMonitor,
    pending::{HostCallResult, HostCallStart, PendingHostCall},
    state::for_each_import,
};

pub(crate) mod call_guard;
pub(crate) mod guest_call;
pub(crate) mod outcome;
pub(crate) mod provider;
#[cfg(any(test, feature = "testing"))]
pub mod scripted;
pub(crate) mod threaded;

/// The clock of timed calls.
pub mod clock {
    pub use crate::clock::{TICK, observe};
}
