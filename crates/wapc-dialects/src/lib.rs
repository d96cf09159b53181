//! Modules of other dialects as waPC guests.
//!
//! A `.wasm` file that somebody has is seldom a waPC guest: it is a WASI command, a plugin of
//! another system, a guest of an older protocol. [`adapt`] transforms such a module into a waPC
//! guest, once, before it is compiled. Engines, pools, swaps, limits, deadlines, async calls, tiers
//! and precompiled code then work for it as for any guest, without knowing of it.
//!
//! | dialect | operation | payload | response |
//! |---|---|---|---|
//! | [WASI command](Dialect::WasiCommand) | ignored, or the last argument | standard input | standard output |
//! | [earlier waPC](Dialect::OldWapc) | as in waPC | as in waPC | as in waPC |
//! | [packed buffers](Dialect::PackedBuffer) | the export `__` + operation | the buffer | the buffer that it returns |
//! | [Extism plugin](Dialect::Extism) | the export | its input | its output |
//! | [Typst plugin](Dialect::Typst) | the export | the argument; several are framed | the result |
//!
//! A program that takes modules of any dialect wraps its provider in [`Adapting`]:
//!
//! ```
//! use provider_wasmi::WasmiEngineProvider;
//! use wapc_dialects::{Adapting, Options};
//! use wapc_host::WapcHost;
//!
//! // A WASI command that answers with what it reads.
//! let cat = br#"(module
//!     (import "wasi_snapshot_preview1" "fd_read"
//!         (func $read (param i32 i32 i32 i32) (result i32)))
//!     (import "wasi_snapshot_preview1" "fd_write"
//!         (func $write (param i32 i32 i32 i32) (result i32)))
//!     (memory (export "memory") 1)
//!     (func (export "_start")
//!         ;; A list of one buffer, of 1,000 bytes at 16.
//!         (i32.store (i32.const 0) (i32.const 16))
//!         (i32.store (i32.const 4) (i32.const 1000))
//!         (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 4)))
//!         (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))"#;
//!
//! let provider = Adapting::new(
//!     |module: &[u8]| Ok(Box::new(WasmiEngineProvider::new(module)?)),
//!     Options::new(),
//! );
//! let host = WapcHost::new(Box::new(provider.load(cat)?), |_, _, _, _, _| {
//!     Err("no such operation".into())
//! })?;
//! assert_eq!(host.call("any", b"hello")?, b"hello");
//! assert_eq!(host.call("any", b"again")?, b"again");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![forbid(unsafe_code)]

mod adapting;
mod detect;
mod error;
mod extism;
mod kernel;
mod link;
mod old_wapc;
mod options;
mod packed_buffer;
mod settings;
mod streams;
mod typst;
mod wasi_command;

use std::borrow::Cow;

use wapc_host::module;
pub use wapc_host::module::Dialect;
use wasmparser::{Validator, WasmFeatures};

use self::link::{Linker, Unit};
pub use self::{
    adapting::{AdaptedProvider, Adapting},
    detect::{Detected, Format, detect},
    error::AdaptError,
    extism::{HostFunction, LinkedPlugin, Plugins},
    link::LinkError,
    options::{Memories, Options},
    settings::{Section, Settings, SettingsError, append_section},
    streams::{AsyncStreams, StreamError, Streaming, Streams, call_streaming},
};

/// A module as a waPC guest.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Adapted<'m> {
    /// The guest in binary format: the module's own bytes where there was nothing to do.
    pub binary: Cow<'m, [u8]>,
    /// The format of the module before.
    pub from: Detected,
    is_transformed: bool,
}

impl<'m> Adapted<'m> {
    const fn unchanged(binary: Cow<'m, [u8]>, from: Detected) -> Self {
        Self {
            binary,
            from,
            is_transformed: false,
        }
    }

    /// Returns whether the module was transformed: adapted, or linked with a library.
    #[must_use]
    pub const fn is_transformed(&self) -> bool {
        self.is_transformed
    }

    /// Returns what the guest asks of its host beyond the protocol of waPC, and so what another waPC host
    /// must have to run it: nothing, or some of "a second memory", "functions of the program's own" and
    /// "an exit after the response".
    ///
    /// ```
    /// use wapc_dialects::{Options, adapt};
    ///
    /// let command = br#"(module (memory (export "memory") 1) (func (export "_start")))"#;
    /// let needs = adapt(command, &Options::new())?.needs()?;
    /// assert_eq!(needs, ["a second memory", "an exit after the response"]);
    /// # Ok::<(), wapc_dialects::AdaptError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`AdaptError::Link`] if the guest cannot be decoded, which would be a defect of this crate, or a
    /// module that is not valid.
    pub fn needs(&self) -> Result<Vec<&'static str>, AdaptError> {
        const OF_WAPC: [&str; 5] = [
            "wapc",
            "wasmbus",
            "env",
            "wasi_snapshot_preview1",
            "wasi_unstable",
        ];
        let guest = Unit::parse("the guest", &self.binary)?;
        let mut needs = vec![];
        if guest
            .exports()
            .any(|(name, ..)| name == module::WAPC_MEMORY)
        {
            needs.push("a second memory");
        }
        let mut imports = guest.imports();
        if imports
            .any(|(from, name, _)| !OF_WAPC.contains(&from) || from == "env" && name != "abort")
        {
            needs.push("functions of the program's own");
        }
        if self.is_transformed && self.from.format == Format::Foreign(Dialect::WasiCommand) {
            needs.push("an exit after the response");
        }
        Ok(needs)
    }

    /// Returns what operation, payload and response are for the module, in a sentence; `None` for
    /// a module that was not of another dialect.
    #[must_use]
    pub const fn summary(&self) -> Option<&'static str> {
        let Format::Foreign(dialect) = self.from.format else {
            return None;
        };
        match dialect {
            Dialect::WasiCommand => Some(
                "the payload is its standard input, the response its standard output, and each \
                 call has a new instance",
            ),
            Dialect::OldWapc => Some("its calls of the host have the form of today"),
            Dialect::PackedBuffer => Some(
                "an operation is an export without its `__`, and the host's functions are \
                 operations of host calls",
            ),
            Dialect::Extism => Some(
                "an operation is an export, and configuration, variables, HTTP and the host's \
                 functions are host calls",
            ),
            Dialect::Typst => {
                Some("an operation is an export; several arguments are framed by their lengths")
            }
            _ => None,
        }
    }
}

/// Transforms a module (binary or text) into a waPC guest. A module that is one, or of a dialect
/// that is not known here, stays as it is.
///
/// The module is decoded and not validated: the engine does that. The guest of a module that is not
/// valid is not valid either.
///
/// ```
/// use wapc_dialects::{Dialect, Format, Options, adapt};
///
/// // It calls its host as guests did in 2019.
/// let old = br#"(module
///     (import "wapc" "__host_call" (func (param i32 i32 i32 i32) (result i32)))
///     (memory (export "memory") 1)
///     (func (export "__guest_call") (param i32 i32) (result i32) (i32.const 0)))"#;
/// let adapted = adapt(old, &Options::new())?;
/// assert_eq!(adapted.from.format, Format::Foreign(Dialect::OldWapc));
/// assert!(adapted.is_transformed());
///
/// let again = adapt(&adapted.binary, &Options::new())?;
/// assert_eq!(again.from.format, Format::Wapc);
/// assert_eq!(again.binary, adapted.binary);
/// # Ok::<(), wapc_dialects::AdaptError>(())
/// ```
///
/// # Errors
///
/// [`AdaptError::Module`] if the bytes are no core module; [`AdaptError::Unfit`] if the module
/// lacks what its dialect asks for; [`AdaptError::Settings`] if a custom section with its settings
/// cannot be read; [`AdaptError::Link`] if it, or a library of `options`, cannot be linked.
pub fn adapt<'m>(bytes: &'m [u8], options: &Options) -> Result<Adapted<'m>, AdaptError> {
    let binary = module::binary(bytes)?;
    let from = detect(&binary)?;
    let dialect = match from.format {
        Format::Foreign(dialect) => dialect,
        _ if options.libraries.is_empty() => return Ok(Adapted::unchanged(binary, from)),
        _ => {
            let adapted = link_libraries(&binary, options)?;
            return finished(adapted, from, options);
        }
    };
    let adapt = match dialect {
        Dialect::WasiCommand => wasi_command::adapt,
        Dialect::OldWapc => old_wapc::adapt,
        Dialect::PackedBuffer => packed_buffer::adapt,
        Dialect::Typst => typst::adapt,
        Dialect::Extism => extism::adapt,
        _ => return Ok(Adapted::unchanged(binary, from)),
    };
    let linked = match options.libraries.is_empty() {
        true => None,
        false => Some(link_libraries(&binary, options)?),
    };
    let unit = Unit::parse("the module", linked.as_deref().unwrap_or(&binary))?;
    let adapted = adapt(unit, options)?;
    finished(adapted, from, options)
}

fn finished<'m>(
    binary: Vec<u8>,
    from: Detected,
    options: &Options,
) -> Result<Adapted<'m>, AdaptError> {
    if options.validates {
        Validator::new_with_features(WasmFeatures::all())
            .validate_all(&binary)
            .map_err(AdaptError::invalid)?;
    }
    Ok(Adapted {
        binary: binary.into(),
        from,
        is_transformed: true,
    })
}

/// Links the libraries of the options to a module, which exports what it did before.
fn link_libraries(binary: &[u8], options: &Options) -> Result<Vec<u8>, AdaptError> {
    let mut libraries = Vec::new();
    for (name, library, memories) in &options.libraries {
        libraries.push((name, module::binary(library)?, *memories));
    }
    let mut linker = Linker::new();
    let main = linker.add(Unit::parse("the module", binary)?);
    let mut units = vec![(None, main)];
    for (name, library, memories) in &libraries {
        let unit = Unit::parse(&format!("the library `{name}`"), library)?;
        let id = linker.add(unit);
        if *memories == Memories::Shared {
            linker.bind(id, "env", "memory", main, "memory");
        }
        units.push((Some(name.as_str()), id));
    }
    let mut bindings = Vec::new();
    for (_, unit) in &units {
        if options.inlines {
            linker.inline(*unit);
        }
        let imports = linker.unit(*unit).into_iter().flat_map(Unit::imports);
        for (module, name, _) in imports {
            let provider = units.iter().find(|(library, _)| *library == Some(module));
            if let Some((_, provider)) = provider {
                bindings.push((*unit, module.to_owned(), name.to_owned(), *provider));
            }
        }
    }
    for (unit, module, name, provider) in bindings {
        linker.bind(unit, &module, &name, provider, &name);
    }
    let exports = linker.unit(main).into_iter().flat_map(Unit::exports);
    let exports: Vec<_> = exports.map(|(name, ..)| name.to_owned()).collect();
    for export in exports {
        linker.export(main, &export, &export);
    }
    Ok(linker.link()?)
}

impl Settings {
    /// Reads the settings of a module (binary or text): `wapc.settings`, or else `.bufplugin`.
    /// Returns the default if it has neither.
    ///
    /// Arguments and environment take effect when the module is [adapted](adapt). Files
    /// are for the host to grant: `WasiSettings::file` takes each.
    ///
    /// # Errors
    ///
    /// [`AdaptError::Module`] if the bytes are no module, [`AdaptError::Settings`] if the section
    /// cannot be read.
    pub fn read(module: &[u8]) -> Result<Self, AdaptError> {
        let binary = module::binary(module)?;
        Ok(Self::of(&Unit::parse("the module", &binary)?)?)
    }
}

/// The example in the README compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
