//! Hosts and their code.

use std::{ffi::c_void, sync::Arc, time::Duration};

use wapc_host::{BoxError, HostCall, HostCallback};

use super::{
    boundary::{UserPointer, borrow, guard, handle, release, slice},
    callbacks::{Callback, NoCallback, WapcCandidate, WapcProbe},
    errors::{finish, finish_with, null},
    settings::WapcOptions,
};
use crate::error::{WapcError, WapcStatus};

/// A guest that is called by operation name, and whose code can be replaced while it is called. Each function may be called
/// on any thread.
#[derive(Debug)]
pub struct WapcHost {
    pub(crate) host: wapc_host::WapcHost,
}

struct Shared(Arc<Callback>);

impl HostCallback for Shared {
    fn call(&self, call: HostCall<'_>, response: &mut Vec<u8>) -> Result<(), BoxError> {
        self.0.call(call, response)
    }
}

/// Makes a host for a module (binary or text) and its first instance. Without options, null, it has the defaults. Returns
/// null if that fails, with the error in `error` unless that is null. Freed by `wapc_host_free`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wapc_host_new(
    module: *const u8,
    module_length: usize,
    options: *const WapcOptions,
    error: *mut *mut WapcError,
) -> *mut WapcHost {
    // SAFETY: bytes and a place of the caller's, options of this library; each may be null.
    unsafe {
        finish_with(error, || {
            let module = slice(module, module_length, "module")?;
            let options = options.as_ref().cloned().unwrap_or_default();
            Ok(handle(WapcHost::new(module, &options)?))
        })
    }
}

/// Frees a host. Calls that run on it meanwhile end as usual. Null is none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wapc_host_free(host: *mut WapcHost) {
    // SAFETY: a host of this library, or null, freed once.
    guard(|| unsafe { release(host) }, drop);
}

/// Returns the number of a host, which is unique in the process. 0 for null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wapc_host_id(host: *const WapcHost) -> u64 {
    // SAFETY: a host of this library, or null.
    let host = unsafe { host.as_ref() };
    host.map_or(0, |host| host.host.id())
}

/// Replaces the code of a host by that of a module. Calls go on meanwhile: on the old code until the new one is there, and
/// each on one of them. After an error nothing has changed, but with `WAPC_STATUS_NOT_DRAINED`.
///
/// Options are null for the engine and the settings that the host has, or else those of the new code; limits,
/// instances and the callback remain the host's. `probe`, if it is not null, tries the new code before.
/// `drain_ms`, if it is not 0, waits for calls on the old code.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wapc_host_replace(
    host: *const WapcHost,
    module: *const u8,
    module_length: usize,
    options: *const WapcOptions,
    probe: WapcProbe,
    user_data: *mut c_void,
    drain_ms: u64,
    error: *mut *mut WapcError,
) -> WapcStatus {
    // SAFETY: a host and options of this library, bytes and a place of the caller's; each may be null.
    unsafe {
        finish(error, || {
            let host = borrow(host).ok_or_else(|| null("host"))?;
            let module = slice(module, module_length, "module")?;
            let mut swap = host.host.swap();
            if drain_ms > 0 {
                swap = swap.drain(Duration::from_millis(drain_ms));
            }
            if let Some(probe) = probe {
                let user_data = UserPointer(user_data);
                swap = swap.probe(move |instance| {
                    // The closure takes the whole, which may go to another thread, and not its field.
                    let user_data = user_data;
                    let mut candidate = WapcCandidate { instance };
                    // The program's function with what the header says; the candidate outlives the call.
                    match probe(user_data.0, &mut candidate) {
                        true => Ok(()),
                        false => Err("the probe returned false".into()),
                    }
                });
            }
            match options.as_ref() {
                None => swap.module(module)?,
                Some(options) => swap.provider(options.provider(module)?)?,
            }
            Ok(())
        })
    }
}

/// Swaps back to the code before, which is not compiled again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wapc_host_rollback(
    host: *const WapcHost,
    error: *mut *mut WapcError,
) -> WapcStatus {
    // SAFETY: a host of this library, a place of the caller's; each may be null.
    unsafe {
        finish(error, || {
            let host = borrow(host).ok_or_else(|| null("host"))?;
            Ok(host.host.rollback()?)
        })
    }
}

/// Counters of a host at one moment.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
#[expect(clippy::exhaustive_structs, reason = "C has it by its fields")]
pub struct WapcStats {
    /// The number of the code that new calls run: 1 at first, and one more after each swap and rollback.
    pub generation: u64,
    /// The number of instances.
    pub live: u64,
    /// The number of instances that no call uses.
    pub idle: u64,
    /// The number of calls that wait for an instance.
    pub waiting: u64,
    /// The number of calls that have reached a guest and ended.
    pub calls: u64,
    /// The number of swaps and rollbacks.
    pub swaps: u64,
    /// The time that guests have run in timed calls, in nanoseconds.
    pub time_in_guest_ns: u64,
}

/// Writes the counters of a host to `stats`, zeros for null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wapc_host_stats(host: *const WapcHost, stats: *mut WapcStats) {
    // SAFETY: a host of this library, a place of the caller's; each may be null.
    unsafe {
        let read = || borrow(host).map(|host| host.stats()).unwrap_or_default();
        super::boundary::write(stats, guard(read, |_| WapcStats::default()));
    }
}

/// Returns how many calls and swaps of a host have failed with this status.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wapc_host_errors(host: *const WapcHost, status: u32) -> u64 {
    // SAFETY: a host of this library, or null.
    let host = unsafe { borrow(host) };
    host.map_or(0, |host| host.errors(status))
}

impl WapcHost {
    fn new(module: &[u8], options: &WapcOptions) -> Result<Self, WapcError> {
        let builder = wapc_host::WapcHost::builder(options.provider(module)?);
        let builder = options.options.apply(builder);
        let host = match &options.callback {
            Some(callback) => builder.build_with(Shared(callback.clone())),
            None => builder.build_with(NoCallback),
        };
        Ok(Self { host: host? })
    }

    fn stats(&self) -> WapcStats {
        let stats = self.host.stats();
        let number = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        WapcStats {
            generation: stats.generation,
            live: number(stats.live),
            idle: number(stats.idle),
            waiting: number(stats.waiting),
            calls: stats.calls,
            swaps: stats.swaps,
            time_in_guest_ns: u64::try_from(stats.time_in_guest.as_nanos()).unwrap_or(u64::MAX),
        }
    }

    fn errors(&self, status: u32) -> u64 {
        let errors = self.host.stats().errors;
        let kinds = wapc_host::error::ErrorKind::ALL.iter();
        let kinds = kinds.filter(|kind| WapcStatus::from(**kind).number() == status);
        kinds.map(|kind| errors.of(*kind)).sum()
    }
}

impl WapcOptions {
    fn provider(
        &self,
        module: &[u8],
    ) -> Result<Box<dyn wapc_host::WebAssemblyEngineProvider>, wapc_host::Error> {
        let provider = self.options.provider(module, &self.functions);
        provider.map_err(wapc_host::Error::Init)
    }
}
