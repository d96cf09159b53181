//! A plugin as C has it: called from any thread, one call at a time.

use std::{
    any::Any,
    collections::BTreeMap,
    error::Error,
    ffi::{CStr, CString},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use wapc::boundary::c_string;
use wapc_extism::{CancelHandle, CompiledPlugin, Function, Plugin, PluginBuilder};
use wapc_host::error::Report;
use wapc_net::{AllowedHosts, HttpClient};

use crate::{engine, log_lines};

/// A plugin with its lock. The thread that holds it may not wait for it.
pub(crate) struct SharedPlugin {
    called: Mutex<Called>,
    /// The thread that holds the lock, by [`thread_number`]; 0 for none.
    holder: AtomicUsize,
    pub(crate) id: [u8; 16],
    pub(crate) cancel: CancelHandle,
}

pub(crate) struct Called {
    pub(crate) plugin: Plugin,
    /// The text of the last call's error.
    pub(crate) error: Option<CString>,
}

/// The error of a call within a call of the same plugin, which is not kept in the plugin: that is in use.
pub(crate) const REENTRANT: &CStr = c"cannot make reentrant calls into plugin";

impl SharedPlugin {
    pub(crate) fn new(plugin: Plugin) -> Self {
        Self {
            holder: AtomicUsize::new(0),
            id: plugin.id().into_bytes(),
            cancel: plugin.cancel_handle(),
            called: Mutex::new(Called {
                plugin,
                error: None,
            }),
        }
    }

    /// Waits for the plugin. `None` if it is called on this thread: one of its functions asks.
    pub(crate) fn lock(&self) -> Option<Lock<'_>> {
        let thread = thread_number();
        // Another thread's number may change meanwhile, to anything but this one's.
        if self.holder.load(Relaxed) == thread {
            return None;
        }
        // After a panic the plugin is usable: its host drops the instance.
        let called = self.called.lock().unwrap_or_else(PoisonError::into_inner);
        self.holder.store(thread, Relaxed);
        Some(Lock {
            called,
            holder: &self.holder,
        })
    }

    /// Calls an export. Returns its code; -1 if it cannot be called.
    pub(crate) fn call(
        &self,
        name: &str,
        input: &[u8],
        context: Option<Arc<dyn Any + Send + Sync>>,
    ) -> i32 {
        let Some(mut lock) = self.lock() else {
            return -1;
        };
        let Called { plugin, error } = &mut *lock.called;
        *error = None;
        match plugin.call_raw(name, input, context) {
            Ok(code) => code,
            Err(failure) => {
                let text = match failure.message.as_str() {
                    "cancelled" => "timeout",
                    text => text,
                };
                *error = Some(c_string(text));
                failure.code
            }
        }
    }

    /// Sets the error without a call.
    pub(crate) fn fail(&self, text: impl Into<Vec<u8>>) -> i32 {
        if let Some(mut lock) = self.lock() {
            lock.called.error = Some(c_string(text));
        }
        -1
    }

    /// Merges a JSON object into the configuration; null removes a key.
    pub(crate) fn configure(&self, json: &[u8]) -> bool {
        let Ok(config) = serde_json::from_slice::<BTreeMap<String, Option<String>>>(json) else {
            return false;
        };
        let Some(mut lock) = self.lock() else {
            return false;
        };
        for (key, value) in config {
            lock.called.plugin.set_config(key, value);
        }
        lock.called.error = None;
        true
    }
}

/// A plugin that nobody else uses meanwhile.
pub(crate) struct Lock<'p> {
    pub(crate) called: MutexGuard<'p, Called>,
    holder: &'p AtomicUsize,
}

impl Drop for Lock<'_> {
    fn drop(&mut self) {
        self.holder.store(0, Relaxed);
    }
}

/// Returns a number that no other thread has that lives: an address of its own.
fn thread_number() -> usize {
    thread_local!(static PLACE: u8 = const { 0 });
    PLACE.with(|place| std::ptr::from_ref(place).addr())
}

/// The input of a new plugin, with its settings.
pub(crate) struct Making<'a> {
    pub(crate) input: &'a [u8],
    pub(crate) functions: Vec<Function>,
    pub(crate) wasi: bool,
    pub(crate) fuel: Option<u64>,
}

impl Making<'_> {
    /// Compiles it. The error is for C.
    pub(crate) fn compile(self) -> Result<CompiledPlugin, String> {
        self.compiled()
            .map_err(|error| format!("Unable to compile Extism plugin: {error}"))
    }

    fn compiled(self) -> Result<CompiledPlugin, String> {
        let mut builder = PluginBuilder::new(self.input)
            .map_err(|error| text(&error))?
            .with_engine(engine::chosen()?)
            .with_functions(self.functions)
            .with_wasi(self.wasi);
        if let Some(fuel) = self.fuel {
            builder = builder.with_fuel_limit(fuel);
        }
        if let Some(level) = log_lines::level() {
            builder = builder
                .with_log_level(level)
                .with_log_sink(log_lines::write);
        }
        // The program names the URLs of modules, and not the plugin.
        let hosts = AllowedHosts::new(["*", "localhost", "127.0.0.1", "[::1]"])
            .map_err(|error| text(&error))?;
        builder
            .with_source_client(HttpClient::new(hosts))
            .compile()
            .map_err(|error| text(&error))
    }
}

/// Makes a plugin of compiled code. The error is for C.
pub(crate) fn instantiate(compiled: &CompiledPlugin) -> Result<SharedPlugin, String> {
    let plugin = compiled.instantiate();
    plugin
        .map(SharedPlugin::new)
        .map_err(|error| format!("Unable to create Extism plugin: {}", text(&error)))
}

/// Returns the text of an error with its causes.
fn text(error: &(dyn Error + 'static)) -> String {
    Report::new(error).to_string()
}
