//! The settings of a provider.

use std::{
    fmt,
    io::{Read, Seek},
    sync::Arc,
};

use wapc_host::{Interruption, ModuleError, ModuleLimits, WasiSettings, module};
use wasmtime::{Engine, Module};

use crate::{
    Pooling, Precompiled, PrecompiledError, WasmtimeEngineProvider,
    engine::{self, Settings},
    instance::Template,
    low_priority, precompiled,
};

/// The settings of a [`WasmtimeEngineProvider`].
#[derive(Clone, Default)]
pub struct Builder {
    engine: Option<Origin>,
    interruption: Option<Interruption>,
    settings: Settings,
    module_limits: ModuleLimits,
    gentle: bool,
    wasi: Arc<WasiSettings>,
}

/// Where an engine comes from.
#[derive(Clone)]
enum Origin {
    /// It is the user's.
    User(Engine),
    /// It was made with the builder's settings.
    Settings(Engine),
}

impl Builder {
    /// Compiles on this engine of yours, with its settings. By default all
    /// providers in the process that can be interrupted in the same way share
    /// one engine, which takes the WebAssembly features that
    /// [`wapc_host::module`] lists and no others.
    ///
    /// Its guests can be interrupted in the ways that its `Config` was made
    /// for: by time with `epoch_interruption`, by fuel with `consume_fuel`. With
    /// neither, the host's [`Limits`](wapc_host::Limits) must be without
    /// timeouts.
    ///
    /// While timed calls run, the provider increments the epoch of such an
    /// engine every 2 ms ([`wapc_host::clock::TICK`]); if you count its epochs
    /// for stores of your own, say [`Interruption::Off`] or
    /// [`Interruption::Fuel`] to [`Builder::interruption`], and it does not.
    ///
    /// Where address space is scarce, mind that each memory reserves 4 GiB of
    /// it and guard pages, so that its bounds need not be checked at each
    /// access. `memory_reservation`, `memory_guard_size` and
    /// `signals_based_traps` of a `Config` trade speed for space.
    #[must_use]
    pub fn engine(mut self, engine: Engine) -> Self {
        self.engine = Some(Origin::User(engine));
        self
    }

    /// How guests can be interrupted. By default by time; on an engine of
    /// yours in each way that it was made for.
    ///
    /// An engine that was not made for what is wanted here is used without it:
    /// a host whose limits need it is refused with
    /// [`Error::NotInterruptible`](wapc_host::Error::NotInterruptible).
    ///
    /// By time, a guest looks at a counter at the beginning of each function
    /// and at each turn of a loop. By fuel, it counts its instructions as
    /// well; the same guest and call always use the same fuel. One bulk
    /// instruction (`memory.fill` and its like) is not interrupted.
    #[must_use]
    pub const fn interruption(mut self, interruption: Interruption) -> Self {
        self.interruption = Some(interruption);
        self
    }

    /// How much of the calling thread's stack a guest may use. By default
    /// 512 KiB.
    ///
    /// A guest that calls too deep ends in a trap, with
    /// [`TrapCode::StackOverflow`](wapc_host::TrapCode::StackOverflow). How
    /// deep that is depends on the size of its functions' frames. Every thread
    /// that calls the guest must have that much stack left, and what the host
    /// callback needs: running out of it aborts the process. Threads of Rust
    /// have 2 MiB by default.
    ///
    /// In an async call (feature `async`) the guest, the host's functions and
    /// its callback run on a stack of the guest's own instead, in either form
    /// of callback. It is 512 KiB larger than what the guest may use, and 2 MiB
    /// at the least, so that the host has 1.5 MiB of it by default. It takes
    /// address space from the first such call until the instance is dropped,
    /// and memory as far as it was used.
    ///
    /// Another value than the default makes an engine for this provider alone.
    /// Without effect beside [`Builder::engine`] and for
    /// [`Builder::build_compiled`]. For 0, [`Builder::build`] answers
    /// [`ModuleError::Refused`].
    #[must_use]
    pub const fn stack_bytes(mut self, bytes: usize) -> Self {
        self.settings.stack_bytes = bytes;
        self
    }

    /// Takes instances from memory that is set out in advance: for guests that
    /// live short. By default memory is mapped for each instance.
    ///
    /// It makes an engine for this provider and its successors in a swap. What
    /// its address space has no room for is [`ModuleError::Refused`] by
    /// [`Builder::build`]. Without effect beside [`Builder::engine`], whose
    /// `Config` has such a setting of its own, and for
    /// [`Builder::build_compiled`].
    #[must_use]
    pub const fn pooling(mut self, pooling: Pooling) -> Self {
        self.settings.pooling = Some(pooling);
        self
    }

    /// Compiles by Winch, wasmtime's baseline compiler, in place of Cranelift:
    /// five times as fast, for code that takes about twice the time.
    ///
    /// It makes an engine for this provider and its successors in a swap. Winch
    /// is there for x86-64 (with AVX, if the guest uses SIMD) and AArch64. It
    /// compiles neither tail calls nor `externref`: modules with them are
    /// [`ModuleError::Refused`]. All limits are in force as with Cranelift.
    /// Without effect beside [`Builder::engine`] and for
    /// [`Builder::build_compiled`].
    #[cfg(feature = "winch")]
    #[must_use]
    pub const fn winch(mut self) -> Self {
        self.settings.winch = true;
        self
    }

    /// What a module may cost to compile. By default
    /// [`ModuleLimits::default`]. Without effect for
    /// [`Builder::build_compiled`].
    #[must_use]
    pub const fn module_limits(mut self, limits: ModuleLimits) -> Self {
        self.module_limits = limits;
        self
    }

    /// Compiles on one thread, of low priority where threads have one each
    /// (Linux), so that calls keep their pace while a module is swapped in. By
    /// default on all cores, which is ready soonest.
    ///
    /// All providers in the process that do so share the thread. The price is
    /// time: as many times longer as there are cores, and where calls keep all
    /// of them busy, about ten times longer again. Replacements
    /// ([`WapcHost::replace_module`](wapc_host::WapcHost::replace_module)) are
    /// compiled in the same way. Without effect for [`Builder::build_compiled`].
    ///
    /// For other bounds, swap on the threads of a `rayon` pool of yours:
    /// wasmtime compiles on the threads of the pool that it is called in.
    #[must_use]
    pub const fn gentle_compilation(mut self, gentle: bool) -> Self {
        self.gentle = gentle;
        self
    }

    /// What guests get of the outside world. By default nothing.
    #[must_use]
    pub fn wasi(mut self, wasi: WasiSettings) -> Self {
        self.wasi = Arc::new(wasi);
        self
    }

    /// Compiles `module`, binary or text.
    ///
    /// # Errors
    ///
    /// [`ModuleError`]: the bytes are no module, or the module is no guest.
    pub fn build(self, module: &[u8]) -> Result<WasmtimeEngineProvider, ModuleError> {
        let binary = module::binary(module)?;
        self.module_limits.check(&binary)?;
        let gentle = self.gentle;
        let (builder, engine) = self
            .with_engine()
            .map_err(|error| ModuleError::Refused(error.into()))?;
        let compile = || Module::from_binary(&engine, &binary);
        let compiled = match gentle {
            true => low_priority::compile(compile)
                .map_err(|error| ModuleError::Refused(error.into()))?,
            false => compile(),
        }
        .map_err(|error| module::refusal(&binary, error))?;
        builder.link(compiled)
    }

    /// Takes a module that you have compiled; its own engine is used, as
    /// [`Builder::engine`] says.
    ///
    /// # Errors
    ///
    /// [`ModuleError`]: the module is no guest.
    pub fn build_compiled(self, module: Module) -> Result<WasmtimeEngineProvider, ModuleError> {
        let engine = module.engine().clone();
        self.engine(engine).link(module)
    }

    /// Compiles `module`, binary or text, ahead of time: an artefact to be
    /// loaded later, by a provider with the same settings, on the same kind of
    /// processor. [`Precompiled`] says how.
    ///
    /// The artefact is what wasmtime's `Module::serialize` gives, with 64 bytes
    /// behind it that tell what it was made of.
    ///
    /// # Errors
    ///
    /// As [`Builder::build`].
    pub fn precompile(&self, module: &[u8]) -> Result<Vec<u8>, ModuleError> {
        let compiled = self.clone().build(module)?;
        let code = compiled.module().serialize();
        let code = code.map_err(|error| ModuleError::Refused(error.into()))?;
        Ok(precompiled::seal(code, compiled.engine(), module))
    }

    /// Checks, before any of it is loaded, that `artefact` is what
    /// [`Builder::precompile`] has written for the same settings, version of
    /// wasmtime and kind of processor; and of the bytes of `module`, unless
    /// that is `None`.
    ///
    /// The artefact is a `File`, or a `Cursor` over bytes. It is read from its
    /// beginning, whatever its position; that is unspecified afterwards.
    /// [`Builder::module_limits`] are without effect.
    ///
    /// # Errors
    ///
    /// [`PrecompiledError`]; each kind of wrong artefact has its own.
    pub fn check_precompiled(
        self,
        artefact: impl Read + Seek,
        module: Option<&[u8]>,
    ) -> Result<Precompiled, PrecompiledError> {
        let (builder, engine) = self
            .with_engine()
            .map_err(|error| PrecompiledError::Engine(error.into()))?;
        precompiled::check(artefact, &engine, module)?;
        Ok(Precompiled::new(engine, builder))
    }

    /// The engine, which all that is built with the builder is on from now on.
    fn with_engine(mut self) -> wasmtime::Result<(Self, Engine)> {
        let engine = match &self.engine {
            Some(Origin::User(engine) | Origin::Settings(engine)) => engine.clone(),
            None => {
                let engine = engine::engine(self.interruption.unwrap_or_default(), &self.settings)?;
                self.engine = Some(Origin::Settings(engine.clone()));
                engine
            }
        };
        Ok((self, engine))
    }

    pub(crate) fn wasi_settings(&self) -> &WasiSettings {
        &self.wasi
    }

    /// The provider of a module that is on the builder's engine.
    pub(crate) fn link(mut self, module: Module) -> Result<WasmtimeEngineProvider, ModuleError> {
        let interruption = engine::interruption(module.engine(), self.interruption);
        self.interruption = Some(interruption);
        if interruption.by_time() {
            engine::tick(module.engine());
        }
        let pooling = match self.engine {
            Some(Origin::Settings(_)) => self.settings.pooling.clone(),
            Some(Origin::User(_)) | None => None,
        };
        let template = Template::new(module, interruption, pooling, Arc::clone(&self.wasi))?;
        Ok(WasmtimeEngineProvider {
            template: Arc::new(template),
            builder: self,
        })
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("interruption", &self.interruption)
            .field("settings", &self.settings)
            .field("gentle", &self.gentle)
            .field("wasi", &self.wasi)
            .finish_non_exhaustive()
    }
}
