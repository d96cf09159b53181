//! One module, translated on several engines.

use std::{
    num::NonZeroUsize,
    sync::{Arc, OnceLock},
};

use wapc_host::{HostFunctions, Interruption, error::ModuleError};
use wasmi::{Engine, Module};

use crate::{
    engine::{EngineSettings, check_metering, translate},
    instance::Template,
    rewrite::{TranslatedModule, Translation},
};

/// A module with one template per engine.
///
/// An engine of wasmi hands out stacks under a lock, so threads that run guests
/// of the same engine contend for it. Each shard is an engine with its own
/// translation of the module; all but the first translate on first use.
pub(crate) struct ShardedModule {
    first_shard: Template,
    extra_shards: Option<ExtraShards>,
}

struct ExtraShards {
    settings: EngineSettings,
    /// The module, rewritten where that is needed.
    binary: Box<[u8]>,
    translation: Translation,
    functions: Arc<HostFunctions>,
    /// The shard hint of the first instance. It maps to the first shard, so that
    /// a provider with one instance translates its module once.
    first_hint: OnceLock<usize>,
    /// Holds `None` where the translation failed, although the first shard's
    /// succeeded.
    templates: Box<[OnceLock<Option<Template>>]>,
}

impl ShardedModule {
    /// Takes a module that the user has translated. Its engine is the only
    /// shard.
    pub(crate) fn from_translated(
        module: Module,
        interruption: Interruption,
        functions: &HostFunctions,
    ) -> Result<Self, ModuleError> {
        check_metering(module.engine(), interruption)?;
        Ok(Self {
            first_shard: Template::new(module, interruption, Translation::ByUser, functions)?,
            extra_shards: None,
        })
    }

    /// Translates `binary` on the user's engine, the only shard.
    pub(crate) fn on_engine(
        engine: &Engine,
        binary: &[u8],
        interruption: Interruption,
        functions: &HostFunctions,
    ) -> Result<Self, ModuleError> {
        check_metering(engine, interruption)?;
        let translated = TranslatedModule::new(engine, binary)?;
        Ok(Self {
            first_shard: Template::new(
                translated.module,
                interruption,
                translated.translation,
                functions,
            )?,
            extra_shards: None,
        })
    }

    /// Translates `binary` on an engine of its own, with up to `engines` shards.
    pub(crate) fn on_own_engines(
        binary: &[u8],
        engines: NonZeroUsize,
        settings: EngineSettings,
        functions: &Arc<HostFunctions>,
    ) -> Result<Self, ModuleError> {
        let translated = TranslatedModule::new(&settings.engine(), binary)?;
        let extra_shards = (engines.get() > 1).then(|| ExtraShards {
            settings,
            binary: translated.rewritten.as_deref().unwrap_or(binary).into(),
            translation: translated.translation.clone(),
            functions: Arc::clone(functions),
            first_hint: OnceLock::new(),
            templates: (1..engines.get()).map(|_| OnceLock::new()).collect(),
        });
        Ok(Self {
            first_shard: Template::new(
                translated.module,
                settings.interruption,
                translated.translation,
                functions,
            )?,
            extra_shards,
        })
    }

    pub(crate) const fn first_shard(&self) -> &Template {
        &self.first_shard
    }

    /// Returns the template for an instance with this shard hint.
    pub(crate) fn template(&self, shard_hint: usize) -> &Template {
        let Some(extra) = &self.extra_shards else {
            return &self.first_shard;
        };
        let first_hint = *extra.first_hint.get_or_init(|| shard_hint);
        let shard = shard_hint.wrapping_sub(first_hint) % (extra.templates.len() + 1);
        shard
            .checked_sub(1)
            .and_then(|index| extra.templates.get(index))
            .and_then(|template| template.get_or_init(|| extra.new_template()).as_ref())
            .unwrap_or(&self.first_shard)
    }
}

impl ExtraShards {
    fn new_template(&self) -> Option<Template> {
        let module = translate(&self.settings.engine(), &self.binary)
            .ok()?
            .ok()?;
        let interruption = self.settings.interruption;
        Template::new(
            module,
            interruption,
            self.translation.clone(),
            &self.functions,
        )
        .ok()
    }
}
