//! The subjects, each in a file of its own.

mod conversation;
mod floor_wasmi;
mod floor_wasmi_async;
mod floor_wasmtime;
mod floor_wasmtime_async;
mod ours;
mod ours_modes;
#[cfg(feature = "peer-extism")]
mod peer_extism;
#[cfg(feature = "peer-wapc")]
mod peer_wapc;
#[cfg(feature = "peer-wapc-pool")]
mod peer_wapc_pool;

use crate::subject::Subject;

/// All subjects of this build, in the order of the tables.
pub fn all() -> Vec<Box<dyn Subject>> {
    let mut subjects = Vec::new();
    subjects.extend(floor_wasmtime::subjects());
    subjects.extend(floor_wasmtime_async::subjects());
    subjects.extend(floor_wasmi::subjects());
    subjects.extend(floor_wasmi_async::subjects());
    subjects.extend(ours::subjects());
    subjects.extend(ours_modes::subjects());
    #[cfg(feature = "peer-wapc")]
    subjects.extend(peer_wapc::subjects());
    #[cfg(feature = "peer-wapc-pool")]
    subjects.extend(peer_wapc_pool::subjects());
    #[cfg(feature = "peer-extism")]
    subjects.extend(peer_extism::subjects());
    subjects
}
