//! One module on several engines.

use std::{num::NonZeroUsize, sync::OnceLock};

use wapc_host::{Interruption, ModuleError};
use wasmi::{Engine, Module};

use crate::{
    engine::{EngineSettings, check_metering, translate},
    instance::{Origin, Template},
    rewrite::Code,
};

/// The templates of one module, on one engine each.
///
/// An engine of wasmi hands out stacks under a lock, so threads that run
/// guests of the same engine at the same time wait for each other. The second
/// engine and those after it translate the module when they are first needed.
pub(crate) struct Templates {
    first: Template,
    further: Option<Further>,
}

struct Further {
    settings: EngineSettings,
    binary: Box<[u8]>,
    origin: Origin,
    /// The number of the first instance. It runs on the first engine, so that
    /// nothing is translated a second time for it.
    base: OnceLock<usize>,
    /// `None` inside where the translation failed, which has worked before.
    templates: Box<[OnceLock<Option<Template>>]>,
}

impl Templates {
    /// A module that was translated elsewhere, on its engine.
    pub(crate) fn single(module: Module, interruption: Interruption) -> Result<Self, ModuleError> {
        check_metering(module.engine(), interruption)?;
        Ok(Self {
            first: Template::new(module, interruption, Origin::Elsewhere)?,
            further: None,
        })
    }

    /// The binary on an engine of the user's.
    pub(crate) fn on(
        engine: &Engine,
        binary: &[u8],
        interruption: Interruption,
    ) -> Result<Self, ModuleError> {
        check_metering(engine, interruption)?;
        let code = Code::of(engine, binary)?;
        Ok(Self {
            first: Template::new(code.module, interruption, code.origin)?,
            further: None,
        })
    }

    /// The binary on up to `engines` engines of its own.
    pub(crate) fn spread(
        binary: &[u8],
        engines: NonZeroUsize,
        settings: EngineSettings,
    ) -> Result<Self, ModuleError> {
        let code = Code::of(&settings.engine(), binary)?;
        let further = (engines.get() > 1).then(|| Further {
            settings,
            binary: code.rewritten.as_deref().unwrap_or(binary).into(),
            origin: code.origin.clone(),
            base: OnceLock::new(),
            templates: (1..engines.get()).map(|_| OnceLock::new()).collect(),
        });
        Ok(Self {
            first: Template::new(code.module, settings.interruption, code.origin)?,
            further,
        })
    }

    pub(crate) const fn first(&self) -> &Template {
        &self.first
    }

    /// The template for an instance with this number; see
    /// [`ModuleState::spread`](wapc_host::ModuleState::spread).
    pub(crate) fn of(&self, spread: usize) -> &Template {
        let Some(further) = &self.further else {
            return &self.first;
        };
        let base = *further.base.get_or_init(|| spread);
        let number = spread.wrapping_sub(base) % (further.templates.len() + 1);
        number
            .checked_sub(1)
            .and_then(|index| further.templates.get(index))
            .and_then(|template| template.get_or_init(|| further.template()).as_ref())
            .unwrap_or(&self.first)
    }
}

impl Further {
    fn template(&self) -> Option<Template> {
        let module = translate(&self.settings.engine(), &self.binary)
            .ok()?
            .ok()?;
        Template::new(module, self.settings.interruption, self.origin.clone()).ok()
    }
}
