//! Which modules make a plugin, and what it may use.

mod modules;
mod text;

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use serde::Deserialize;

pub use modules::Module;
pub use text::ManifestError;

/// Which modules make a plugin, and what it may use.
///
/// By default it has no module, 50 MiB for each HTTP response, 1 MiB of
/// variables, and nothing else: no hosts, no directories.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Manifest {
    /// The modules. The one called `main`, or else the last, is the plugin; others are linked with it by name.
    #[serde(default)]
    pub wasm: Vec<Wasm>,
    /// Limits of memory.
    #[serde(default)]
    pub memory: MemoryOptions,
    /// The configuration that the plugin reads.
    #[serde(default)]
    pub config: BTreeMap<String, String>,
    /// The hosts that it may ask, as [`wapc_net::AllowedHosts`] has them. None and an empty list allow no host.
    #[serde(default)]
    pub allowed_hosts: Option<Vec<String>>,
    /// The directories that it may use: host's path to guest's path. A host's path behind `ro:` is for reading only.
    #[serde(default)]
    pub allowed_paths: Option<BTreeMap<String, PathBuf>>,
    /// The time of one call, in milliseconds. None is no limit.
    #[serde(default)]
    pub timeout_ms: Option<u64>,
}

/// Limits of memory of a [`Manifest`].
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct MemoryOptions {
    /// The most pages of 64 KiB that the plugin's memories may have in sum. None is the host's limit.
    #[serde(default, alias = "max")]
    pub max_pages: Option<u32>,
    /// The most bytes of the body of an HTTP response. None is 50 MiB.
    #[serde(default)]
    pub max_http_response_bytes: Option<u64>,
    /// The most bytes of all variables, with 48 for each. None is 1 MiB, and 0 allows none.
    #[serde(default)]
    pub max_var_bytes: Option<u64>,
}

/// One module of a [`Manifest`].
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Wasm {
    /// Where its bytes are.
    pub source: WasmSource,
    /// The name by which others import from it.
    pub name: Option<String>,
    /// The SHA-256 that its bytes must have, in hexadecimal digits of either case.
    pub hash: Option<String>,
}

/// Where the bytes of a [`Wasm`] are.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum WasmSource {
    /// In a file; a relative path is one from the process's directory.
    Path(PathBuf),
    /// At hand; in a text, in base64.
    Data(Vec<u8>),
    /// At a URL, if whoever builds the plugin allows fetching.
    Url(HttpRequest),
}

/// An HTTP request: of a module in a [`Manifest`], or of a plugin.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct HttpRequest {
    /// The URL.
    pub url: String,
    /// The headers.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// The method. None is `GET`.
    #[serde(default)]
    pub method: Option<String>,
}

impl Manifest {
    /// Makes a manifest of these modules.
    #[must_use]
    pub fn new(wasm: impl IntoIterator<Item = impl Into<Wasm>>) -> Self {
        Self {
            wasm: wasm.into_iter().map(Into::into).collect(),
            ..Self::default()
        }
    }

    /// Adds a module.
    #[must_use]
    pub fn with_wasm(mut self, wasm: impl Into<Wasm>) -> Self {
        self.wasm.push(wasm.into());
        self
    }

    /// Sets [`Manifest::memory`].
    #[must_use]
    pub const fn with_memory_options(mut self, memory: MemoryOptions) -> Self {
        self.memory = memory;
        self
    }

    /// Sets [`MemoryOptions::max_pages`].
    #[must_use]
    pub const fn with_memory_max(mut self, pages: u32) -> Self {
        self.memory.max_pages = Some(pages);
        self
    }

    /// Sets one key of the configuration.
    #[must_use]
    pub fn with_config_key(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.config.insert(key.into(), value.into());
        self
    }

    /// Sets these keys of the configuration; others stay.
    #[must_use]
    pub fn with_config(
        mut self,
        config: impl IntoIterator<Item = (impl Into<String>, impl Into<String>)>,
    ) -> Self {
        let pairs = config.into_iter();
        self.config
            .extend(pairs.map(|(key, value)| (key.into(), value.into())));
        self
    }

    /// Allows a host.
    #[must_use]
    pub fn with_allowed_host(self, host: impl Into<String>) -> Self {
        self.with_allowed_hosts([host.into()])
    }

    /// Allows these hosts, beside those that are allowed already.
    #[must_use]
    pub fn with_allowed_hosts(mut self, hosts: impl IntoIterator<Item = String>) -> Self {
        self.allowed_hosts.get_or_insert_default().extend(hosts);
        self
    }

    /// Allows no host.
    #[must_use]
    pub fn disallow_all_hosts(mut self) -> Self {
        self.allowed_hosts = Some(Vec::new());
        self
    }

    /// Allows a directory: the host's path, behind `ro:` for reading only, and the guest's.
    #[must_use]
    pub fn with_allowed_path(mut self, host: impl Into<String>, guest: impl Into<PathBuf>) -> Self {
        self.allowed_paths
            .get_or_insert_default()
            .insert(host.into(), guest.into());
        self
    }

    /// Sets the time of one call; what is less than a millisecond counts as one.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        let milliseconds = timeout.as_nanos().div_ceil(1_000_000);
        self.timeout_ms = Some(u64::try_from(milliseconds).unwrap_or(u64::MAX));
        self
    }

    /// Returns the time of one call.
    #[must_use]
    pub fn timeout(&self) -> Option<Duration> {
        self.timeout_ms.map(Duration::from_millis)
    }
}

impl MemoryOptions {
    /// Makes the default.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets [`MemoryOptions::max_pages`].
    #[must_use]
    pub const fn with_max_pages(mut self, pages: u32) -> Self {
        self.max_pages = Some(pages);
        self
    }

    /// Sets [`MemoryOptions::max_http_response_bytes`].
    #[must_use]
    pub const fn with_max_http_response_bytes(mut self, bytes: u64) -> Self {
        self.max_http_response_bytes = Some(bytes);
        self
    }

    /// Sets [`MemoryOptions::max_var_bytes`].
    #[must_use]
    pub const fn with_max_var_bytes(mut self, bytes: u64) -> Self {
        self.max_var_bytes = Some(bytes);
        self
    }
}

impl Wasm {
    /// A module in a file.
    #[must_use]
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self::at(WasmSource::Path(path.into()))
    }

    /// A module at hand, in binary or in text form.
    #[must_use]
    pub fn data(bytes: impl Into<Vec<u8>>) -> Self {
        Self::at(WasmSource::Data(bytes.into()))
    }

    /// A module at a URL.
    #[must_use]
    pub fn url(url: impl Into<String>) -> Self {
        Self::http(HttpRequest::new(url))
    }

    /// A module that a request gets.
    #[must_use]
    pub const fn http(request: HttpRequest) -> Self {
        Self::at(WasmSource::Url(request))
    }

    const fn at(source: WasmSource) -> Self {
        Self {
            source,
            name: None,
            hash: None,
        }
    }

    /// Sets the name by which others import from it.
    #[must_use]
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Sets the SHA-256 that its bytes must have.
    #[must_use]
    pub fn with_hash(mut self, hash: impl Into<String>) -> Self {
        self.hash = Some(hash.into());
        self
    }
}

impl From<Vec<u8>> for Wasm {
    fn from(bytes: Vec<u8>) -> Self {
        Self::data(bytes)
    }
}

impl From<&[u8]> for Wasm {
    fn from(bytes: &[u8]) -> Self {
        Self::data(bytes)
    }
}

impl HttpRequest {
    /// Makes a `GET` request of this URL.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            ..Self::default()
        }
    }

    /// Sets the method.
    #[must_use]
    pub fn with_method(mut self, method: impl Into<String>) -> Self {
        self.method = Some(method.into());
        self
    }

    /// Sets a header.
    #[must_use]
    pub fn with_header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.insert(name.into(), value.into());
        self
    }
}

impl From<&HttpRequest> for wapc_net::HttpRequest {
    fn from(request: &HttpRequest) -> Self {
        let mut sent =
            Self::new(&request.url).method(request.method.as_deref().unwrap_or_default());
        for (name, value) in &request.headers {
            sent = sent.header(name, value);
        }
        sent
    }
}
