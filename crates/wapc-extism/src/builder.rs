//! Making plugins.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
    path::PathBuf,
    sync::{Arc, Mutex, OnceLock, RwLock, atomic::AtomicBool},
};

use uuid::Uuid;
use wapc_dialects::{LinkedPlugin, Plugins};
use wapc_host::{
    BoxFuture, HostBuilder, HostFunctions, Interruption, Limits, ModuleState, WapcHost,
    WasiSettings, WebAssemblyEngineProvider, engine::GuestInstance, error::EngineError,
    wasi::DirAccess,
};
use wapc_net::{AllowedHosts, HttpClient};

use crate::{
    Engine, EngineSettings, Error, Function, LogLevel, Manifest, Plugin,
    answers::Answers,
    environment::{Environment, Environments, LogSink},
    vars::Vars,
};

/// The most bytes of a module.
const MAX_MODULE_BYTES: usize = 256 << 20;

type Settle = dyn Fn(HostBuilder) -> HostBuilder + Send + Sync;

/// The settings of a plugin.
///
/// ```
/// # #[cfg(feature = "wasmi")] {
/// use wapc_extism::{Engine, Function, PTR, PluginBuilder, UserData};
///
/// let upper_case = Function::new("shout", [PTR], [PTR], UserData::new(()), |plugin, arguments, results, _| {
///     let text: String = plugin.memory_get_val(&arguments[0])?;
///     plugin.memory_set_val(&mut results[0], text.to_uppercase())
/// });
/// let plugin = br#"(module
///     (import "extism:host/env" "input_offset" (func $input (result i64)))
///     (import "extism:host/env" "length" (func $length (param i64) (result i64)))
///     (import "extism:host/env" "output_set" (func $output (param i64 i64)))
///     (import "extism:host/user" "shout" (func $shout (param i64) (result i64)))
///     (func (export "greet") (local $text i64)
///         (local.set $text (call $shout (call $input)))
///         (call $output (local.get $text) (call $length (local.get $text)))))"#;
/// let mut plugin = PluginBuilder::new(plugin)?
///     .with_engine(Engine::wasmi())
///     .with_functions([upper_case])
///     .build()?;
/// assert_eq!(plugin.call::<_, String>("greet", "hello")?, "HELLO");
/// # }
/// # Ok::<(), wapc_extism::Error>(())
/// ```
#[derive(Clone)]
pub struct PluginBuilder {
    manifest: Manifest,
    engine: Option<Engine>,
    functions: Vec<Function>,
    wasi: bool,
    fuel: Option<u64>,
    initialization_fuel: Option<u64>,
    log_level: Option<LogLevel>,
    log: Option<Arc<LogSink>>,
    allows_headers: bool,
    source_client: Option<HttpClient>,
    http_client: Option<HttpClient>,
    limits: Limits,
    settle: Option<Arc<Settle>>,
}

impl PluginBuilder {
    /// Begins with a module, in binary or text form, or a manifest in JSON or TOML. A [`Manifest`] goes to
    /// [`PluginBuilder::of`].
    ///
    /// # Errors
    ///
    /// [`Error::Manifest`] for an input that is neither.
    pub fn new(input: impl AsRef<[u8]>) -> Result<Self, Error> {
        Ok(Self::of(Manifest::parse(input.as_ref())?))
    }

    /// Begins with a manifest.
    #[must_use]
    pub fn of(manifest: Manifest) -> Self {
        Self {
            manifest,
            engine: None,
            functions: Vec::new(),
            wasi: false,
            fuel: None,
            initialization_fuel: None,
            log_level: None,
            log: None,
            allows_headers: false,
            source_client: None,
            http_client: None,
            limits: Limits::default().timeout(None),
            settle: None,
        }
    }

    /// Sets the engine. The default is wasmtime, or wasmi without the feature `wasmtime`.
    #[must_use]
    pub fn with_engine(mut self, engine: Engine) -> Self {
        self.engine = Some(engine);
        self
    }

    /// Adds functions of the host.
    #[must_use]
    pub fn with_functions(mut self, functions: impl IntoIterator<Item = Function>) -> Self {
        self.functions.extend(functions);
        self
    }

    /// Sets whether the plugin may import from WASI. By default it may not.
    #[must_use]
    pub const fn with_wasi(mut self, wasi: bool) -> Self {
        self.wasi = wasi;
        self
    }

    /// Sets the fuel of each call, about one unit for an instruction.
    #[must_use]
    pub const fn with_fuel_limit(mut self, fuel: u64) -> Self {
        self.fuel = Some(fuel);
        self
    }

    /// Sets the fuel of the constructors and start sections of each instance, beside that of each call, without which it
    /// is refused. By default they have as much as a call.
    #[must_use]
    pub const fn with_initialization_fuel_limit(mut self, fuel: u64) -> Self {
        self.initialization_fuel = Some(fuel);
        self
    }

    /// Has log lines from this level on written, by the crate `log` with the target `extism::guest`, or by
    /// [`PluginBuilder::with_log_sink`]. By default none is.
    #[must_use]
    pub const fn with_log_level(mut self, level: LogLevel) -> Self {
        self.log_level = Some(level);
        self
    }

    /// Sets what gets the log lines of [`PluginBuilder::with_log_level`].
    #[must_use]
    pub fn with_log_sink(mut self, sink: impl Fn(LogLevel, &str) + Send + Sync + 'static) -> Self {
        self.log = Some(Arc::new(sink));
        self
    }

    /// Sets whether the plugin sees the headers of HTTP responses. By default it does not.
    #[must_use]
    pub const fn with_http_response_headers(mut self, allows: bool) -> Self {
        self.allows_headers = allows;
        self
    }

    /// Allows that modules are fetched by URL, by this client. By default they are not.
    #[must_use]
    pub fn with_source_client(mut self, client: HttpClient) -> Self {
        self.source_client = Some(client);
        self
    }

    /// Sets the client for the plugin's requests, with its own allowed hosts in the place of the manifest's.
    #[must_use]
    pub fn with_http_client(mut self, client: HttpClient) -> Self {
        self.http_client = Some(client);
        self
    }

    /// Sets the host's limits. `max_total_memory_bytes` is the manifest's if that has `max_pages`.
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Sets more of the host, such as the number of its instances.
    #[must_use]
    pub fn with_host(
        mut self,
        settle: impl Fn(HostBuilder) -> HostBuilder + Send + Sync + 'static,
    ) -> Self {
        self.settle = Some(Arc::new(settle));
        self
    }

    /// Makes one plugin.
    ///
    /// # Errors
    ///
    /// As [`PluginBuilder::compile`] and [`CompiledPlugin::instantiate`].
    pub fn build(self) -> Result<Plugin, Error> {
        self.compile()?.instantiate()
    }

    /// Fetches, links and compiles the modules, for any number of plugins.
    ///
    /// # Errors
    ///
    /// - [`Error::Manifest`]: a module cannot be had.
    /// - [`Error::Module`], [`Error::UnknownImport`], [`Error::OtherType`]: the modules cannot be linked.
    /// - [`Error::AllowedHost`]: a pattern of the manifest.
    /// - [`Error::Memory`]: the modules begin with more memory than the manifest allows.
    /// - [`Error::InitializationFuel`]: fuel for constructors, and none for calls.
    /// - [`Error::Build`]: the engine refuses the result, or there is no engine.
    pub fn compile(self) -> Result<CompiledPlugin, Error> {
        let http = match &self.http_client {
            Some(client) => client.clone(),
            None => {
                let allowed = self.manifest.allowed_hosts.iter().flatten();
                HttpClient::new(AllowedHosts::new(allowed)?)
            }
        };
        let mut functions = Functions::new();
        for function in &self.functions {
            let names = functions.entry(function.namespace.clone()).or_default();
            names.insert(function.name.clone(), function.clone());
        }
        let environments = Arc::new(Environments::default());
        let host_functions = functions.values().flat_map(HashMap::values).fold(
            HostFunctions::new().with_wapc_memory(),
            |added, function| function.add_to(added, environments.clone()),
        );
        let linking = Arc::new(Linking {
            plugins: Plugins::new()
                .reports_codes(true)
                .imports_functions(true)
                .log_level(self.log_level.map(|level| level as u8)),
            wasi: self.wasi,
            functions,
            environments,
            source_client: self.source_client.clone(),
            max_pages: self.manifest.memory.max_pages,
        });
        let plugin = linking.link(&self.manifest)?;
        let mut limits = self.limits.clone();
        if let Some(pages) = self.manifest.memory.max_pages {
            // Beside those that the modules begin with, and the kernel's first two.
            let pages = u64::from(pages) + plugin.initial_pages + 2;
            let bytes = usize::try_from(pages << 16).unwrap_or(usize::MAX);
            limits = limits.max_total_memory_bytes(bytes).max_memory_bytes(bytes);
        }
        if let Some(timeout) = self.manifest.timeout() {
            limits = limits.timeout(timeout);
        }
        let fuel = self.fuel.or(limits.fuel);
        if self.initialization_fuel.is_some() && fuel.is_none() {
            return Err(Error::InitializationFuel);
        }
        // Calls have their own by their options.
        limits.fuel = self.initialization_fuel.or(fuel);
        let settings = EngineSettings {
            wasi: directories(self.manifest.allowed_paths.as_ref()),
            interruption: match limits.fuel {
                Some(_) => Interruption::TimeAndFuel,
                None => Interruption::Time,
            },
            functions: host_functions,
        };
        let engine = self.engine.clone().map_or_else(default_engine, Ok)?;
        let provider = engine.provider(&plugin.binary, &settings)?;
        Ok(CompiledPlugin {
            provider: provider.into(),
            linking,
            exports: Arc::new(plugin.exports),
            limits,
            fuel,
            http,
            builder: Arc::new(self),
        })
    }
}

#[cfg(any(feature = "wasmtime", feature = "wasmi"))]
#[expect(clippy::unnecessary_wraps, reason = "without an engine there is none")]
fn default_engine() -> Result<Engine, Error> {
    Ok(Engine::default())
}

#[cfg(not(any(feature = "wasmtime", feature = "wasmi")))]
fn default_engine() -> Result<Engine, Error> {
    Err(EngineError::Other("no engine is set, and none is built in".into()).into())
}

/// The directories of a manifest: host's path, behind `ro:` for reading only, to the guest's.
fn directories(paths: Option<&BTreeMap<String, PathBuf>>) -> WasiSettings {
    let mut wasi = WasiSettings::new();
    for (host, guest) in paths.into_iter().flatten() {
        let (host, access) = match host.strip_prefix("ro:") {
            Some(host) => (host, DirAccess::ReadOnly),
            None => (host.as_str(), DirAccess::ReadWrite),
        };
        wasi = wasi.dir(host, guest.to_string_lossy(), access);
    }
    wasi
}

impl Plugin {
    /// Makes a plugin of a module or a manifest, as [`PluginBuilder`] does.
    ///
    /// # Errors
    ///
    /// As [`PluginBuilder::new`] and [`PluginBuilder::build`].
    pub fn new(
        input: impl AsRef<[u8]>,
        functions: impl IntoIterator<Item = Function>,
        wasi: bool,
    ) -> Result<Self, Error> {
        let builder = PluginBuilder::new(input)?.with_functions(functions);
        builder.with_wasi(wasi).build()
    }
}

/// A plugin that has been compiled, to be instantiated any number of times.
#[derive(Clone)]
pub struct CompiledPlugin {
    provider: Arc<dyn WebAssemblyEngineProvider>,
    linking: Arc<Linking>,
    exports: Arc<BTreeSet<String>>,
    limits: Limits,
    fuel: Option<u64>,
    http: HttpClient,
    builder: Arc<PluginBuilder>,
}

impl CompiledPlugin {
    /// Compiles what a builder has.
    ///
    /// # Errors
    ///
    /// As [`PluginBuilder::compile`].
    pub fn new(builder: PluginBuilder) -> Result<Self, Error> {
        builder.compile()
    }

    /// Makes a plugin, with variables and a configuration of its own.
    ///
    /// # Errors
    ///
    /// [`Error::Build`] if a constructor of the plugin fails or exceeds a limit, or if a directory is missing.
    pub fn instantiate(&self) -> Result<Plugin, Error> {
        let manifest = &self.builder.manifest;
        let most = manifest.memory.max_http_response_bytes.unwrap_or(50 << 20);
        let environment = Arc::new(Environment {
            id: Uuid::new_v4(),
            cancel: OnceLock::new(),
            environments: self.linking.environments.clone(),
            host_id: OnceLock::new(),
            config: RwLock::new(manifest.config.clone()),
            vars: Mutex::new(Vars::new(manifest.memory.max_var_bytes.unwrap_or(1 << 20))),
            http: self.http.clone(),
            max_http_response_bytes: usize::try_from(most).unwrap_or(usize::MAX),
            allows_headers: AtomicBool::new(self.builder.allows_headers),
            log: self
                .builder
                .log
                .clone()
                .unwrap_or_else(|| Arc::new(write_log)),
        });
        let provider = PluginProvider {
            provider: self.provider.clone(),
            linking: self.linking.clone(),
            environment: environment.clone(),
        };
        let mut host = WapcHost::builder(Box::new(provider)).limits(self.limits.clone());
        if let Some(settle) = &self.builder.settle {
            host = settle(host);
        }
        let host = host.build_with(Answers(environment.clone()))?;
        Ok(Plugin::of(
            host,
            environment,
            self.exports.clone(),
            self.fuel,
        ))
    }
}

fn write_log(level: LogLevel, text: &str) {
    let level = match level {
        LogLevel::Trace => log::Level::Trace,
        LogLevel::Debug => log::Level::Debug,
        LogLevel::Info => log::Level::Info,
        LogLevel::Warn => log::Level::Warn,
        LogLevel::Error => log::Level::Error,
    };
    log::log!(target: "extism::guest", level, "{text}");
}

/// Functions of the host by namespace, then by name.
type Functions = HashMap<String, HashMap<String, Function>>;

/// The way from modules to a guest: at first, and in each swap.
struct Linking {
    plugins: Plugins,
    wasi: bool,
    functions: Functions,
    environments: Arc<Environments>,
    source_client: Option<HttpClient>,
    max_pages: Option<u32>,
}

impl Linking {
    fn link(&self, manifest: &Manifest) -> Result<LinkedPlugin, Error> {
        let modules = manifest.modules(self.source_client.as_ref(), MAX_MODULE_BYTES)?;
        let modules: Vec<_> = modules
            .iter()
            .map(|module| (module.name.as_str(), module.bytes.as_slice()))
            .collect();
        let plugin = self.plugins.link(&modules)?;
        if let Some(name) = plugin.wasi_functions.first()
            && !self.wasi
        {
            return Err(Error::UnknownImport {
                module: "wasi_snapshot_preview1".to_owned(),
                name: name.clone(),
            });
        }
        for import in &plugin.host_functions {
            let (module, name) = (import.module.clone(), import.name.clone());
            let functions = self.functions.get(&module);
            match functions.and_then(|functions| functions.get(&name)) {
                Some(function) if function.is_imported_as(import) => {}
                Some(_) => return Err(Error::OtherType { module, name }),
                None => return Err(Error::UnknownImport { module, name }),
            }
        }
        match self.max_pages {
            Some(limit) if plugin.initial_pages > u64::from(limit) => Err(Error::Memory {
                pages: plugin.initial_pages,
                limit,
            }),
            _ => Ok(plugin),
        }
    }
}

/// A compiled plugin, shared with other hosts, for one host. It takes modules and manifests in swaps.
struct PluginProvider {
    provider: Arc<dyn WebAssemblyEngineProvider>,
    linking: Arc<Linking>,
    environment: Arc<Environment>,
}

impl PluginProvider {
    /// Lets functions find the plugin, also in calls of constructors.
    fn note(&self, state: &ModuleState) {
        self.linking
            .environments
            .add(state.host_id(), &self.environment);
    }
}

impl WebAssemblyEngineProvider for PluginProvider {
    fn init(&self, state: ModuleState) -> Result<Box<dyn GuestInstance>, EngineError> {
        self.note(&state);
        self.provider.init(state)
    }

    fn replace(&self, module: &[u8]) -> Result<Box<dyn WebAssemblyEngineProvider>, EngineError> {
        let manifest = Manifest::parse(module).map_err(Error::from)?;
        let plugin = self.linking.link(&manifest)?;
        Ok(Box::new(Self {
            provider: self.provider.replace(&plugin.binary)?.into(),
            linking: self.linking.clone(),
            environment: self.environment.clone(),
        }))
    }

    fn interruption(&self) -> Interruption {
        self.provider.interruption()
    }

    fn init_async(
        &self,
        state: ModuleState,
    ) -> BoxFuture<'_, Result<Box<dyn GuestInstance>, EngineError>> {
        self.note(&state);
        self.provider.init_async(state)
    }
}

impl fmt::Debug for PluginBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PluginBuilder")
            .field("manifest", &self.manifest)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for CompiledPlugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CompiledPlugin")
            .field("exports", &self.exports)
            .finish_non_exhaustive()
    }
}
