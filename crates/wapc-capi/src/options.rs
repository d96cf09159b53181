//! The options of a host, which come as JSON.

use std::{collections::BTreeMap, num::NonZeroU64, path::PathBuf, time::Duration};

use serde::{Deserialize, Deserializer};
use wapc_dialects::Adapting;
use wapc_host::{
    HostBuilder, HostFunctions, Interruption, Limits, Reuse, WasiSettings,
    WebAssemblyEngineProvider,
    error::EngineError,
    wasi::{DirAccess, Stdin, Stdout},
};

use crate::engine::Engine;

/// The options of a host.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Options {
    engine: Engine,
    /// Modules of other dialects become guests; by default so.
    adapt: Option<bool>,
    interruption: Option<InterruptionName>,
    limits: LimitOptions,
    instances: Instances,
    wasi: Wasi,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum InterruptionName {
    Off,
    Time,
    Fuel,
    TimeAndFuel,
    Kill,
}

/// Each that is there replaces the host's default. A time that is `null` has no limit.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct LimitOptions {
    max_memory_bytes: Option<usize>,
    max_total_memory_bytes: Option<usize>,
    max_memories: Option<usize>,
    max_table_elements: Option<usize>,
    max_tables: Option<usize>,
    max_inbound_bytes: Option<usize>,
    max_outbound_bytes: Option<usize>,
    max_host_calls: Option<u64>,
    max_log_bytes: Option<u64>,
    max_open_files: Option<usize>,
    #[serde(deserialize_with = "present")]
    timeout_ms: Option<Option<u64>>,
    #[serde(deserialize_with = "present")]
    start_timeout_ms: Option<Option<u64>>,
    fuel: Option<u64>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Instances {
    max: Option<usize>,
    min_idle: Option<usize>,
    #[serde(deserialize_with = "present")]
    idle_timeout_ms: Option<Option<u64>>,
    #[serde(deserialize_with = "present")]
    wait_limit_ms: Option<Option<u64>>,
    /// The calls after which an instance is replaced; 1 is a fresh one for each call.
    max_calls: Option<NonZeroU64>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Wasi {
    args: Vec<String>,
    env: BTreeMap<String, String>,
    dirs: Vec<Dir>,
    stdin: Option<String>,
    inherit_stdin: bool,
    inherit_stdout: bool,
    inherit_stderr: bool,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Dir {
    host: PathBuf,
    guest: String,
    #[serde(default)]
    writable: bool,
}

/// Tells `null` from what is not there.
fn present<'d, D: Deserializer<'d>>(from: D) -> Result<Option<Option<u64>>, D::Error> {
    Option::deserialize(from).map(Some)
}

impl Options {
    /// Compiles a module with the engine and the settings of these options.
    pub(crate) fn provider(
        &self,
        module: &[u8],
        functions: &HostFunctions,
    ) -> Result<Box<dyn WebAssemblyEngineProvider>, EngineError> {
        let engine = self.engine;
        let (wasi, interruption) = (self.wasi.settings(), self.interruption());
        let functions = functions.clone();
        let make = move |module: &[u8]| {
            engine.provider(module, wasi.clone(), interruption, functions.clone())
        };
        if self.adapt == Some(false) {
            return make(module);
        }
        let adapting = Adapting::new(make, wapc_dialects::Options::new());
        Ok(Box::new(adapting.load(module)?))
    }

    /// Calls of this library block, so guests need not be paused: they are killed. That costs each new
    /// instance a page, which is too much where each call has one.
    fn interruption(&self) -> Interruption {
        let is_fresh = self.instances.max_calls == Some(NonZeroU64::MIN);
        match self.interruption {
            Some(name) => name.into(),
            None if is_fresh => Interruption::Time,
            None => Interruption::Kill,
        }
    }

    /// Sets a host up.
    pub(crate) fn apply(&self, host: HostBuilder) -> HostBuilder {
        self.instances.apply(host.limits(self.limits.limits()))
    }
}

impl From<InterruptionName> for Interruption {
    fn from(name: InterruptionName) -> Self {
        match name {
            InterruptionName::Off => Self::Off,
            InterruptionName::Time => Self::Time,
            InterruptionName::Fuel => Self::Fuel,
            InterruptionName::TimeAndFuel => Self::TimeAndFuel,
            InterruptionName::Kill => Self::Kill,
        }
    }
}

impl LimitOptions {
    fn limits(&self) -> Limits {
        let mut limits = Limits::default();
        macro_rules! take {
            ($($field:ident),*) => {
                $(if let Some(value) = self.$field {
                    limits.$field = value;
                })*
            };
        }
        take!(
            max_memory_bytes,
            max_total_memory_bytes,
            max_memories,
            max_table_elements,
            max_tables,
            max_inbound_bytes,
            max_outbound_bytes,
            max_host_calls,
            max_log_bytes,
            max_open_files
        );
        if let Some(timeout) = self.timeout_ms {
            limits.timeout = timeout.map(Duration::from_millis);
        }
        if let Some(timeout) = self.start_timeout_ms {
            limits.start_timeout = timeout.map(Duration::from_millis);
        }
        limits.fuel = self.fuel;
        limits
    }
}

impl Instances {
    fn apply(&self, mut host: HostBuilder) -> HostBuilder {
        if let Some(max) = self.max {
            host = host.max_instances(max);
        }
        if let Some(min) = self.min_idle {
            host = host.min_idle(min);
        }
        if let Some(timeout) = self.idle_timeout_ms {
            host = host.idle_timeout(timeout.map(Duration::from_millis));
        }
        if let Some(limit) = self.wait_limit_ms {
            host = host.wait_limit(limit.map(Duration::from_millis));
        }
        match self.max_calls {
            None => host,
            Some(NonZeroU64::MIN) => host.reuse(Reuse::Fresh),
            Some(calls) => host.reuse(Reuse::Recycle(calls)),
        }
    }
}

impl Wasi {
    fn settings(&self) -> WasiSettings {
        let mut settings = WasiSettings::new();
        settings.args.clone_from(&self.args);
        settings.env = self.env.clone().into_iter().collect();
        for dir in &self.dirs {
            let access = match dir.writable {
                true => DirAccess::ReadWrite,
                false => DirAccess::ReadOnly,
            };
            settings = settings.dir(&dir.host, &dir.guest, access);
        }
        if let Some(stdin) = &self.stdin {
            settings = settings.stdin(Stdin::Bytes(stdin.as_bytes().into()));
        }
        if self.inherit_stdin {
            settings = settings.stdin(Stdin::Inherited);
        }
        if self.inherit_stdout {
            settings = settings.stdout(Stdout::Inherited);
        }
        if self.inherit_stderr {
            settings = settings.stderr(Stdout::Inherited);
        }
        settings
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Options;

    #[test]
    fn a_time_that_is_null_has_no_limit_and_one_that_is_missing_the_default() {
        let options: Options =
            serde_json::from_str(r#"{"limits": {"timeout_ms": null, "max_tables": 3}}"#).unwrap();
        let limits = options.limits.limits();
        assert_eq!(limits.timeout, None);
        assert_eq!(limits.start_timeout, Some(Duration::from_secs(10)));
        assert_eq!(limits.max_tables, 3);
    }

    #[test]
    fn what_is_not_known_is_refused() {
        for text in [
            r#"{"engines": "wasmi"}"#,
            r#"{"engine": "v8"}"#,
            r#"{"limits": {"max_memory": 1}}"#,
            r#"{"limits": {"max_tables": -1}}"#,
            r#"{"instances": {"max_calls": 0}}"#,
            r#"{"wasi": {"dirs": [{"host": "/"}]}}"#,
        ] {
            serde_json::from_str::<Options>(text).unwrap_err();
        }
    }
}
