//! Extism plugins, and manifests of several modules.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
};

use wapc_dialects::{Format, HostFunction, LinkedPlugin, Plugins, detect};
use wapc_extism::{
    CurrentPlugin, EXTISM_USER_MODULE, Engine, Error, Function, LogLevel, Manifest, Module,
    PluginBuilder, UserData, Val, ValType, Wasm,
};
use wapc_host::{BoxError, error::Printable, module::Dialect, wasi::Capture};
use wapc_net::{AllowedHosts, HttpClient};

use crate::{
    arguments::{CallArguments, PluginArguments},
    engine::GuestSettings,
    error::CommandError,
    grants,
    host_responses::HostResponses,
    max_module_bytes, tell,
};

/// Returns whether a module is a plugin.
pub(crate) fn is_plugin(module: &[u8]) -> bool {
    detect(module).is_ok_and(|detected| detected.format == Format::Foreign(Dialect::Extism))
}

/// Returns the manifest if a file is one, and `None` for modules.
pub(crate) fn manifest(path: &Path, bytes: &[u8]) -> Result<Option<Manifest>, CommandError> {
    let text = bytes.trim_ascii_start();
    let begins_as_module = |begin: &&[u8]| text.starts_with(begin);
    if [&b"\0asm"[..], b"(", b";;"].iter().any(begins_as_module) {
        return Ok(None);
    }
    let is_named_so = ["json", "toml"]
        .map(OsStr::new)
        .map(Some)
        .contains(&path.extension());
    match Manifest::parse(bytes) {
        // An empty file is TOML too.
        Ok(manifest) if is_named_so || !manifest.wasm.is_empty() => Ok(Some(manifest)),
        Err(error) if is_named_so => Err(Error::from(error).into()),
        _ => Ok(None),
    }
}

/// A plugin whose modules are at hand.
pub(crate) struct Modules {
    manifest: Manifest,
    modules: Vec<Module>,
}

impl Modules {
    /// Fetches the modules, those of URLs from the hosts that are allowed.
    pub(crate) fn new(
        mut manifest: Manifest,
        libraries: &[(String, PathBuf)],
        allowed_hosts: &[String],
    ) -> Result<Self, CommandError> {
        // The last module is the plugin if none is called so.
        let libraries = libraries.iter();
        let libraries = libraries.map(|(name, path)| Wasm::file(path).with_name(name));
        manifest.wasm.splice(0..0, libraries);
        let client = HttpClient::new(AllowedHosts::new(allowed_hosts).map_err(Error::from)?);
        let modules = manifest.modules(Some(&client), max_module_bytes());
        let modules = modules.map_err(Error::from)?;
        Ok(Self { manifest, modules })
    }

    /// Links the modules.
    pub(crate) fn link(&self, imports_functions: bool) -> Result<LinkedPlugin, CommandError> {
        let modules = self.modules.iter();
        let modules = modules.map(|module| (module.name.as_str(), module.bytes.as_slice()));
        let plugins = Plugins::new().imports_functions(imports_functions);
        let linked = plugins.link(&modules.collect::<Vec<_>>());
        Ok(linked.map_err(Error::from)?)
    }

    /// Returns the module that is called.
    pub(crate) fn main(&self) -> &[u8] {
        let main = self.modules.iter().find(|module| module.name == "main");
        main.map_or(&[], |module| &module.bytes)
    }

    /// Says what was linked.
    pub(crate) fn description(&self) -> String {
        let names = self.modules.iter().map(|module| module.name.as_str());
        let libraries: Vec<_> = names.filter(|name| *name != "main").collect();
        match libraries.is_empty() {
            true => "note: an Extism plugin".to_owned(),
            false => format!(
                "note: an Extism plugin, linked with {}",
                libraries.join(", ")
            ),
        }
    }
}

/// Calls the plugin, and returns its output. Its functions of the host are answered by `responses`.
pub(crate) fn call(
    modules: Modules,
    arguments: &CallArguments,
    payload: &[u8],
    responses: &HostResponses,
    output: &Capture,
) -> Result<Vec<u8>, CommandError> {
    let linked = modules.link(true)?;
    let Modules {
        mut manifest,
        modules,
    } = modules;
    manifest.wasm = modules
        .into_iter()
        .map(|module| Wasm::data(module.bytes).with_name(module.name))
        .collect();
    let PluginArguments {
        config,
        allow_host,
        allow_path,
    } = &arguments.plugin;
    manifest = manifest.with_config(config.iter().cloned());
    manifest = manifest.with_allowed_hosts(allow_host.iter().cloned());
    for (host, guest) in allow_path {
        manifest = manifest.with_allowed_path(host, guest);
    }
    let functions = linked.host_functions.iter();
    let functions: Vec<_> = functions
        .map(|function| answered(function, responses))
        .collect();
    let timeout = manifest.timeout().or(arguments.timeout.0);
    let granted = GuestSettings {
        wasi: grants::wasi(arguments, output),
        ..grants::settings(arguments, timeout)
    };
    let engine = arguments.engine;
    let engine = Engine::new(move |module, settings| {
        let mut granted = granted.clone();
        granted.wasi.dirs.extend(settings.wasi.dirs.iter().cloned());
        granted.functions = settings.functions.clone();
        Ok(engine.provider(module, granted)?)
    });
    let builder = PluginBuilder::of(manifest)
        .with_engine(engine)
        .with_functions(functions)
        .with_wasi(true)
        .with_http_response_headers(true)
        .with_log_level(LogLevel::Info)
        .with_log_sink(|level, text| {
            let level = format!("{level:?}").to_lowercase();
            tell(format_args!("[plugin {level}] {}", Printable::line(text)));
        })
        .with_limits(grants::limits(arguments));
    Ok(builder.build()?.call(&arguments.operation, payload)?)
}

/// Returns the function that a plugin imports: its answer is a block, or a number, of the `--host-response`.
fn answered(import: &HostFunction, responses: &HostResponses) -> Function {
    let types = |names: &[&str]| {
        names
            .iter()
            .map(|name| value_type(name))
            .collect::<Vec<_>>()
    };
    let call = format!("{EXTISM_USER_MODULE}/{}/{}", import.module, import.name);
    let responses = responses.clone();
    let body = move |plugin: &mut CurrentPlugin<'_>,
                     _: &[Val],
                     results: &mut [Val],
                     _: UserData<()>|
          -> Result<(), BoxError> {
        let answer = responses.answer(&call)?;
        for result in results {
            *result = match result {
                Val::I64(_) => plugin.memory_to_val(answer)?,
                Val::I32(_) => Val::I32(answer.parse()?),
                Val::F32(_) => Val::F32(answer.parse::<f32>()?.to_bits()),
                Val::F64(_) => Val::F64(answer.parse::<f64>()?.to_bits()),
            };
        }
        Ok(())
    };
    let (params, results) = (types(&import.params), types(&import.results));
    let function = Function::new(&import.name, params, results, UserData::default(), body);
    function.with_namespace(&import.module)
}

fn value_type(name: &str) -> ValType {
    match name {
        "i32" => ValType::I32,
        "f32" => ValType::F32,
        "f64" => ValType::F64,
        _ => ValType::I64,
    }
}
