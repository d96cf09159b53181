//! The modules of a manifest, fetched, checked and named.

use std::collections::BTreeSet;

use wapc_net::{HttpClient, Source, SourceError};

use super::{Manifest, ManifestError, Wasm, WasmSource};

/// The name of the module that is the plugin.
const MAIN: &str = "main";

/// A module whose bytes are at hand.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Module {
    /// The name by which others import from it; the plugin's is `main`.
    pub name: String,
    /// Its bytes, in binary or in text form.
    pub bytes: Vec<u8>,
}

impl Manifest {
    /// Returns the modules with their bytes, at most `max_bytes` each, in their
    /// order; exactly one of them is called `main`. URLs are fetched by `client`, and refused if there is none.
    ///
    /// A single module is `main`, whatever its name. Of several, one without a name is
    /// `main`, and if none is called so, the last one is.
    ///
    /// # Errors
    ///
    /// [`ManifestError`]: no module, two of one name, one that cannot be had, or another hash.
    ///
    /// ```
    /// use wapc_extism::{Manifest, Wasm};
    ///
    /// let manifest = Manifest::new([Wasm::data(*b"(module)").with_name("any")]);
    /// let modules = manifest.modules(None, 1 << 20)?;
    /// assert_eq!(modules[0].name, "main");
    /// # Ok::<(), wapc_extism::ManifestError>(())
    /// ```
    pub fn modules(
        &self,
        client: Option<&HttpClient>,
        max_bytes: usize,
    ) -> Result<Vec<Module>, ManifestError> {
        let names = self.names()?;
        let fetched = self.wasm.iter().zip(names).map(|(wasm, name)| {
            let bytes = wasm.fetch(&name, client, max_bytes)?;
            Ok(Module { name, bytes })
        });
        fetched.collect()
    }

    fn names(&self) -> Result<Vec<String>, ManifestError> {
        let named = |wasm: &Wasm| wasm.name.clone().unwrap_or_else(|| MAIN.to_owned());
        let mut names: Vec<String> = match self.wasm.as_slice() {
            [_] => vec![MAIN.to_owned()],
            several => several.iter().map(named).collect(),
        };
        let has_main = names.iter().any(|name| name == MAIN);
        let last = names.last_mut().ok_or(ManifestError::NoModule)?;
        if !has_main {
            MAIN.clone_into(last);
        }
        let mut seen = BTreeSet::new();
        for name in &names {
            if name == "extism:host/env" {
                return Err(ManifestError::Reserved { name: name.clone() });
            }
            if !seen.insert(name) {
                return Err(ManifestError::Duplicate { name: name.clone() });
            }
        }
        Ok(names)
    }
}

impl Wasm {
    fn fetch(
        &self,
        name: &str,
        client: Option<&HttpClient>,
        max_bytes: usize,
    ) -> Result<Vec<u8>, ManifestError> {
        let mut source = match &self.source {
            WasmSource::Path(path) => Source::path(path),
            WasmSource::Data(bytes) => Source::bytes(bytes.as_slice()),
            WasmSource::Url(request) => Source::url(request.into()),
        };
        source.sha256.clone_from(&self.hash);
        source
            .fetch(client, max_bytes)
            .map_err(|error| match error {
                SourceError::Digest { found, expected } => ManifestError::Hash { found, expected },
                SourceError::File { path, source } => ManifestError::File { path, source },
                source => ManifestError::Source {
                    name: name.to_owned(),
                    source,
                },
            })
    }
}

#[cfg(test)]
mod tests {
    use crate::{Manifest, ManifestError, Wasm};

    fn names(given: &[Option<&str>]) -> Result<Vec<String>, ManifestError> {
        let wasm = given.iter().map(|name| match name {
            Some(name) => Wasm::data(*b"").with_name(*name),
            None => Wasm::data(*b""),
        });
        let modules = Manifest::new(wasm).modules(None, 0)?;
        Ok(modules.into_iter().map(|module| module.name).collect())
    }

    #[test]
    fn one_module_is_the_plugin() {
        for (given, found) in [
            (&[Some("any")][..], &["main"][..]),
            (&[None], &["main"]),
            (&[None, Some("lib")], &["main", "lib"]),
            (&[Some("main"), Some("lib")], &["main", "lib"]),
            (&[Some("lib"), Some("any")], &["lib", "main"]),
        ] {
            assert_eq!(names(given).unwrap(), found, "{given:?}");
        }
        assert!(matches!(names(&[]), Err(ManifestError::NoModule)));
        assert!(matches!(
            names(&[None, None]),
            Err(ManifestError::Duplicate { .. })
        ));
        assert!(matches!(
            names(&[Some("a"), Some("a"), None]),
            Err(ManifestError::Duplicate { .. })
        ));
        assert!(matches!(
            names(&[Some("extism:host/env"), None]),
            Err(ManifestError::Reserved { .. })
        ));
    }

    #[test]
    fn what_cannot_be_had_says_why() {
        let load = |wasm: Wasm| {
            Manifest::new([wasm])
                .modules(None, 5)
                .unwrap_err()
                .to_string()
        };
        let found = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
        assert_eq!(
            load(Wasm::data(*b"hello").with_hash("------")),
            format!("Hash mismatch, found {found} but expected ------")
        );
        assert_eq!(
            load(Wasm::file("no/such/file.wasm")),
            "Unable to load Wasm file \"no/such/file.wasm\": entity not found"
        );
        assert_eq!(
            load(Wasm::url("http://a.com/")),
            "unable to load the module `main`"
        );
        assert_eq!(
            load(Wasm::data(*b"hello!")),
            "unable to load the module `main`"
        );
        let upper = Wasm::data(*b"hello").with_hash(found.to_uppercase());
        assert!(Manifest::new([upper]).modules(None, 5).is_ok());
    }
}
