//! Tier-up: a baseline that serves at once, and an optimized tier that is
//! compiled in the background and then takes over.

mod queue;
mod tier_up;

use std::{error::Error as StdError, fmt, sync::Arc};

use crate::{engine::provider::WebAssemblyEngineProvider, error::EngineError};

pub(super) use self::{
    queue::{TierQueue, TieredHost},
    tier_up::TierUp,
};

/// Two ways to compile a module: a baseline that serves at once, and an
/// optimized tier that takes over when it is ready.
///
/// [`WapcHost::tiered`](crate::WapcHost::tiered) builds a host with tiers, and
/// [`Swap::tiered`](crate::Swap::tiered) moves an existing host to tiers. Calls
/// run on the baseline while the optimized tier compiles in the background.
/// Then the host moves over in the steps of a swap, for which no call waits.
///
/// ```
/// use wapc_host::{Tier, Tiers, WapcHost, engine::scripted::ScriptedProvider};
///
/// // In a program: `Ok(Box::new(WasmiEngineProvider::new(module)?))`, then
/// // `Ok(Box::new(WasmtimeEngineProvider::new(module)?))`.
/// let tiers = Tiers::new(
///     |_module| Ok(Box::new(ScriptedProvider::new(|guest, _, _| guest.respond(b"slow")))),
///     |_module| Ok(Box::new(ScriptedProvider::new(|guest, _, _| guest.respond(b"fast")))),
/// );
/// let host = WapcHost::tiered(b"the module's bytes", tiers)?
///     .max_instances(4)
///     .build(|_, _, _, _, _| Err("no such operation".into()))?;
///
/// // It serves from the start, and becomes faster by itself.
/// while matches!(host.stats().tier, Tier::Baseline) {
///     host.call("any", b"")?;
/// }
/// assert_eq!(host.call("any", b"")?, b"fast");
/// # Ok::<(), wapc_host::Error>(())
/// ```
///
/// Instances are new after the move, so guests lose their state once. Use tiers
/// for guests that do not depend on state between calls.
///
/// A host stays on the baseline if the optimized tier refuses the module,
/// panics, makes no instances, or lacks a kind of
/// [interruption](crate::Interruption) that the baseline has.
/// [`Stats::tier`](crate::Stats::tier) then holds the reason, and a warning is
/// logged.
///
/// A swap to another module ([`WapcHost::replace_module`](crate::WapcHost::replace_module))
/// starts on the baseline of that module. A host compiles one optimized tier at
/// a time, the newest first, and skips code that no longer serves. The module's
/// bytes are kept only until its optimized tier is compiled.
///
/// To share tiers between hosts, pass an `Arc<Tiers>` in place of `Tiers`.
pub struct Tiers {
    baseline: Box<dyn CompileTier>,
    optimized: Box<dyn CompileTier>,
    observer: Box<Observer>,
}

/// Compiles a module (binary or text) for one tier of [`Tiers`]. Closures of
/// this signature implement it.
///
/// The baseline is compiled on the thread that calls
/// [`WapcHost::tiered`](crate::WapcHost::tiered),
/// [`WapcHost::replace_module`](crate::WapcHost::replace_module) or a method of
/// [`Swap`](crate::Swap). The optimized tier is compiled on a thread of the
/// host named `wapc-tier`; a panic there leaves the host on the baseline.
pub trait CompileTier:
    Fn(&[u8]) -> Result<Box<dyn WebAssemblyEngineProvider>, EngineError> + Send + Sync + 'static
{
}

impl<F> CompileTier for F where
    F: Fn(&[u8]) -> Result<Box<dyn WebAssemblyEngineProvider>, EngineError> + Send + Sync + 'static
{
}

type Observer = dyn Fn(Result<(), &EngineError>) + Send + Sync;

impl Tiers {
    /// Creates tiers that compile with `baseline` first, and with `optimized` in
    /// the background.
    pub fn new(baseline: impl CompileTier, optimized: impl CompileTier) -> Self {
        Self {
            baseline: Box::new(baseline),
            optimized: Box::new(optimized),
            observer: Box::new(|_| {}),
        }
    }

    /// Sets a function to call when an optimized tier is compiled or refused,
    /// before the host moves over to it. Default: none.
    ///
    /// It runs on the compiling thread (`wapc-tier`), which waits for it.
    #[must_use]
    pub fn observer(
        mut self,
        observer: impl Fn(Result<(), &EngineError>) + Send + Sync + 'static,
    ) -> Self {
        self.observer = Box::new(observer);
        self
    }
}

impl fmt::Debug for Tiers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tiers").finish_non_exhaustive()
    }
}

/// The tier that a host's calls run on; see
/// [`Stats::tier`](crate::Stats::tier).
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub enum Tier {
    /// The code has a single tier.
    #[default]
    Single,
    /// The baseline of [`Tiers`]; the optimized tier is not ready.
    Baseline,
    /// The optimized tier of [`Tiers`].
    Optimized,
    /// The baseline of [`Tiers`], for good: the optimized tier has failed for
    /// this reason. It is an [`EngineError`] if the module was not compiled,
    /// and an [`Error`](crate::Error) if the host could not move over.
    BaselineOnly(Arc<dyn StdError + Send + Sync>),
}

/// A compiled module, and the tier that compiled it.
#[derive(Clone)]
pub(crate) struct Code {
    pub(super) provider: Arc<dyn WebAssemblyEngineProvider>,
    pub(super) tier: CodeTier,
}

#[derive(Clone)]
pub(super) enum CodeTier {
    Single,
    Baseline(Arc<TierUp>),
    Optimized(Arc<Tiers>),
}

impl Code {
    pub(crate) fn single(provider: Box<dyn WebAssemblyEngineProvider>) -> Self {
        Self {
            provider: provider.into(),
            tier: CodeTier::Single,
        }
    }

    /// Compiles the baseline of `module`.
    pub(crate) fn baseline(module: &[u8], tiers: Arc<Tiers>) -> Result<Self, EngineError> {
        let provider = (tiers.baseline)(module)?;
        let tier_up = TierUp::new(module, provider.interruption(), tiers);
        Ok(Self {
            provider: provider.into(),
            tier: CodeTier::Baseline(Arc::new(tier_up)),
        })
    }

    pub(super) fn optimized(
        provider: Arc<dyn WebAssemblyEngineProvider>,
        tiers: Arc<Tiers>,
    ) -> Self {
        Self {
            provider,
            tier: CodeTier::Optimized(tiers),
        }
    }

    /// The optimized code of the same module if it is compiled, else `self`.
    pub(super) fn best(self) -> Self {
        let CodeTier::Baseline(tier_up) = &self.tier else {
            return self;
        };
        match tier_up.compiled() {
            Some(optimized) => Self::optimized(optimized, Arc::clone(&tier_up.tiers)),
            None => self,
        }
    }

    /// Compiles `module` for the same engine or the same tiers.
    pub(crate) fn replace(&self, module: &[u8]) -> Result<Self, EngineError> {
        let tiers = match &self.tier {
            CodeTier::Single => return Ok(Self::single(self.provider.replace(module)?)),
            CodeTier::Baseline(tier_up) => &tier_up.tiers,
            CodeTier::Optimized(tiers) => tiers,
        };
        Self::baseline(module, Arc::clone(tiers))
    }
}

impl CodeTier {
    /// The optimized tier that has not taken over from this baseline yet.
    pub(super) const fn tier_up(&self) -> Option<&Arc<TierUp>> {
        match self {
            Self::Baseline(tier_up) => Some(tier_up),
            Self::Single | Self::Optimized(_) => None,
        }
    }

    pub(super) fn report(&self) -> Tier {
        match self {
            Self::Single => Tier::Single,
            Self::Baseline(tier_up) => tier_up.report(),
            Self::Optimized(_) => Tier::Optimized,
        }
    }
}

#[cfg(all(test, not(shuttle)))]
mod tests;
