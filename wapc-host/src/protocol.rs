//! The conversation between host and guest: the rules of waPC, written once.

pub(crate) mod budget;
pub(crate) mod callback;
pub(crate) mod functions;
pub(crate) mod host_call;
pub(crate) mod kill_switch;
pub(crate) mod lent;
mod memory;
pub(crate) mod monitor;
pub(crate) mod owned;
pub(crate) mod panic_slot;
pub(crate) mod payload;
pub(crate) mod pending;
pub(crate) mod reentrancy;
pub(crate) mod scratch;
pub(crate) mod state;
