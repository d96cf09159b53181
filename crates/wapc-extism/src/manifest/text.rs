//! A manifest in JSON or TOML, and other inputs that make one.

use std::{collections::BTreeMap, path::PathBuf};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Deserializer, de::Error as _};
use wapc_net::SourceError;

use super::{HttpRequest, Manifest, Wasm, WasmSource};

/// The reason why an input makes no plugin.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// An input that is neither a module, in binary or text form, nor a manifest.
    #[error("Unknown manifest format: as JSON: {json}; as TOML: {toml}")]
    Format {
        /// Why it is no manifest in JSON.
        json: String,
        /// Why it is no manifest in TOML.
        toml: String,
    },
    /// A manifest without modules.
    #[error("No wasm files specified in Extism manifest")]
    NoModule,
    /// Two modules of one name.
    #[error("Duplicate module name found in Extism manifest: {name}")]
    Duplicate {
        /// The name.
        name: String,
    },
    /// A module whose name is that of the host's own functions.
    #[error("a module cannot be called {name}: that is where the host's functions are")]
    Reserved {
        /// The name.
        name: String,
    },
    /// A module with other bytes than its hash says.
    #[error("Hash mismatch, found {found} but expected {expected}")]
    Hash {
        /// The digest of the bytes.
        found: String,
        /// The digest of the manifest.
        expected: String,
    },
    /// A file that cannot be read.
    #[error("Unable to load Wasm file {path:?}: {}", source.kind())]
    File {
        /// The path.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// A module that cannot be had for another reason.
    #[error("unable to load the module `{name}`")]
    Source {
        /// Its name.
        name: String,
        /// The cause.
        #[source]
        source: SourceError,
    },
}

impl Manifest {
    /// Reads what a plugin may be made of: a module in binary or in text form,
    /// which gets the default manifest, or a manifest in JSON or TOML.
    ///
    /// # Errors
    ///
    /// [`ManifestError::Format`] for anything else. A manifest's unknown fields
    /// are refused, at every level.
    pub fn parse(input: &[u8]) -> Result<Self, ManifestError> {
        if input.starts_with(b"\0asm") || is_wat(input) {
            return Ok(Self::new([Wasm::data(input)]));
        }
        let json = match serde_json::from_slice(input) {
            // To serde a list is a struct without names.
            Ok(manifest) if !input.trim_ascii_start().starts_with(b"[") => return Ok(manifest),
            Ok(_) => "it is a list".to_owned(),
            Err(error) => error.to_string(),
        };
        let toml = match std::str::from_utf8(input) {
            Ok(text) => match toml::from_str(text) {
                Ok(manifest) => return Ok(manifest),
                Err(error) => error.to_string(),
            },
            Err(error) => error.to_string(),
        };
        Err(ManifestError::Format { json, toml })
    }
}

/// Returns whether it begins as a module in text form does.
fn is_wat(input: &[u8]) -> bool {
    let text = input.trim_ascii_start();
    let module = text.strip_prefix(b"(").map(<[u8]>::trim_ascii_start);
    text.starts_with(b";;")
        || text.starts_with(b"(;")
        || module.is_some_and(|text| text.starts_with(b"module"))
}

/// A [`Wasm`] as it is in a text: exactly one of `path`, `data` and `url`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    path: Option<PathBuf>,
    data: Option<String>,
    url: Option<String>,
    headers: Option<BTreeMap<String, String>>,
    method: Option<String>,
    name: Option<String>,
    hash: Option<String>,
}

impl<'de> Deserialize<'de> for Wasm {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let entry = Entry::deserialize(deserializer)?;
        let of_url = entry.headers.is_some() || entry.method.is_some();
        let source = match (entry.path, entry.data, entry.url) {
            (None, None, Some(url)) => WasmSource::Url(HttpRequest {
                url,
                headers: entry.headers.unwrap_or_default(),
                method: entry.method,
            }),
            _ if of_url => {
                return Err(D::Error::custom("`headers` and `method` belong to a `url`"));
            }
            (Some(path), None, None) => WasmSource::Path(path),
            (None, Some(data), None) => {
                let bytes = STANDARD.decode(data);
                let no_base64 = |error| D::Error::custom(format!("`data` is not base64: {error}"));
                WasmSource::Data(bytes.map_err(no_base64)?)
            }
            _ => {
                return Err(D::Error::custom(
                    "a module has exactly one of `path`, `data` and `url`",
                ));
            }
        };
        Ok(Self {
            source,
            name: entry.name,
            hash: entry.hash,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Manifest, ManifestError, Wasm};
    use crate::{HttpRequest, MemoryOptions};

    fn full() -> Manifest {
        let request = HttpRequest::new("http://a.com/b.wasm")
            .with_method("post")
            .with_header("x", "y");
        Manifest::new([
            Wasm::file("lib.wasm").with_name("lib"),
            Wasm::data(*b"\0asm").with_hash("AB"),
            Wasm::http(request).with_name("main"),
        ])
        .with_memory_options(
            MemoryOptions::new()
                .with_max_pages(4)
                .with_max_var_bytes(0)
                .with_max_http_response_bytes(9),
        )
        .with_config_key("k", "v")
        .with_allowed_host("*.a.com")
        .with_allowed_path("ro:data", "/mnt")
        .with_timeout(Duration::from_millis(100))
    }

    #[test]
    fn json_and_toml_say_the_same() {
        let json = br#" {
            "wasm": [
                { "path": "lib.wasm", "name": "lib" },
                { "data": "AGFzbQ==", "hash": "AB" },
                { "url": "http://a.com/b.wasm", "method": "post", "headers": { "x": "y" }, "name": "main" }
            ],
            "memory": { "max_pages": 4, "max_var_bytes": 0, "max_http_response_bytes": 9 },
            "config": { "k": "v" }, "allowed_hosts": ["*.a.com"], "allowed_paths": { "ro:data": "/mnt" },
            "timeout_ms": 100
        }"#;
        assert_eq!(Manifest::parse(json).unwrap(), full());
        let toml = br#"
            timeout_ms = 100
            allowed_hosts = ["*.a.com"]
            [[wasm]]
            path = "lib.wasm"
            name = "lib"
            [[wasm]]
            data = "AGFzbQ=="
            hash = "AB"
            [[wasm]]
            url = "http://a.com/b.wasm"
            method = "post"
            headers = { x = "y" }
            name = "main"
            [memory]
            max_pages = 4
            max_var_bytes = 0
            max_http_response_bytes = 9
            [config]
            k = "v"
            [allowed_paths]
            "ro:data" = "/mnt"
        "#;
        assert_eq!(Manifest::parse(toml).unwrap(), full());
    }

    #[test]
    fn modules_are_manifests_too() {
        for module in [
            "\0asm\x01\0\0\0",
            "(module)",
            " \n( module $a)",
            ";; a\n(module)",
            "(; a ;)(module)",
        ] {
            let manifest = Manifest::parse(module.as_bytes()).unwrap();
            assert_eq!(manifest, Manifest::new([Wasm::data(module)]), "{module}");
        }
    }

    #[test]
    fn what_is_unknown_or_contradictory_is_refused() {
        for text in [
            "",
            "\u{0}",
            "<xml/>",
            "[[]]",
            r#"{ "wasm": [], "more": 1 }"#,
            r#"{ "wasm": [{ "path": "a", "more": 1 }] }"#,
            r#"{ "wasm": [{ "path": "a", "url": "b" }] }"#,
            r#"{ "wasm": [{ "name": "a" }] }"#,
            r#"{ "wasm": [{ "path": "a", "method": "GET" }] }"#,
            r#"{ "wasm": [{ "data": { "ptr": 4096, "len": 8 } }] }"#,
            r#"{ "wasm": [{ "data": "?" }] }"#,
            r#"{ "memory": { "pages": 1 } }"#,
            r#"{ "memory": { "max_pages": -1 } }"#,
            r#"{ "config": { "k": 1 } }"#,
        ] {
            match Manifest::parse(text.as_bytes()) {
                // An empty text is an empty table in TOML.
                Ok(manifest) => assert_eq!((text, manifest), ("", Manifest::default())),
                Err(error) => assert!(
                    matches!(error, ManifestError::Format { .. }),
                    "{text}: {error}"
                ),
            }
        }
        assert!(matches!(
            Manifest::parse(&[0xff, 0xfe]),
            Err(ManifestError::Format { .. })
        ));
    }
}
