//! The grants and the limits of a guest.

use std::time::Duration;

use wapc_host::{
    Interruption, Limits, ModuleLimits, WasiSettings,
    wasi::{Capture, Stdout},
};

use crate::{arguments::CallArguments, engine::GuestSettings};

/// Returns the limits of the guest.
pub(crate) fn limits(arguments: &CallArguments) -> Limits {
    Limits::default()
        .timeout(arguments.timeout.0)
        .start_timeout(arguments.timeout.0)
        .max_memory_bytes(arguments.max_memory)
        .max_total_memory_bytes(arguments.max_memory)
        .fuel(arguments.fuel)
}

/// Returns the limits of the guest's module.
pub(crate) fn module_limits(arguments: &CallArguments) -> ModuleLimits {
    match arguments.trusted {
        true => ModuleLimits::unlimited(),
        false => ModuleLimits::default(),
    }
}

/// Returns the guest's settings, without grants.
pub(crate) fn settings(arguments: &CallArguments, timeout: Option<Duration>) -> GuestSettings {
    GuestSettings {
        interruption: interruption(timeout, arguments.fuel),
        module_limits: module_limits(arguments),
        keeps_code: !arguments.no_cache,
        ..GuestSettings::default()
    }
}

/// Returns the cheapest interruption that enforces the limits.
const fn interruption(timeout: Option<Duration>, fuel: Option<u64>) -> Interruption {
    match (timeout, fuel) {
        (None, None) => Interruption::Off,
        (Some(_), None) => Interruption::Kill,
        (None, Some(_)) => Interruption::Fuel,
        (Some(_), Some(_)) => Interruption::TimeAndFuel,
    }
}

/// Grants the guest the arguments, variables and directories that were asked for.
pub(crate) fn wasi(arguments: &CallArguments, output: &Capture) -> WasiSettings {
    let mut wasi = WasiSettings::new()
        .stdout(Stdout::Captured(output.clone()))
        .stderr(Stdout::Captured(output.clone()));
    if !arguments.arg.is_empty() {
        let name = arguments.module.file_name().unwrap_or_default();
        wasi = wasi.arg(name.to_string_lossy());
    }
    for arg in &arguments.arg {
        wasi = wasi.arg(arg);
    }
    for (name, value) in &arguments.env {
        wasi = wasi.env(name, value);
    }
    for dir in &arguments.dir {
        wasi = wasi.dir(&dir.host, &dir.guest, dir.access);
    }
    wasi
}
