//! One module on several engines.

use std::{
    num::NonZeroUsize,
    sync::{
        OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use wapc_host::{ModuleError, module};
use wasmi::{Config, Engine, Module};

use crate::instance::Template;

/// The templates of one module, on one engine each.
///
/// An engine of wasmi hands out stacks under a lock, so threads that run
/// guests of the same engine at the same time wait for each other. Instances
/// are dealt out to the engines in turn. The second engine and those after it
/// translate the module when their turn comes first.
pub(crate) struct Templates {
    first: Template,
    further: Further,
    next: AtomicUsize,
}

#[derive(Default)]
struct Further {
    binary: Box<[u8]>,
    /// `None` inside where the translation failed, which has worked before.
    templates: Box<[OnceLock<Option<Template>>]>,
}

impl Templates {
    /// The module on the engine that it was translated for.
    pub(crate) fn single(module: Module) -> Result<Self, ModuleError> {
        Ok(Self {
            first: Template::new(module)?,
            further: Further::default(),
            next: AtomicUsize::new(0),
        })
    }

    /// The binary on `engine`.
    pub(crate) fn on(engine: &Engine, binary: &[u8]) -> Result<Self, ModuleError> {
        Self::single(translate(engine, binary)?)
    }

    /// The binary on up to `engines` engines of its own.
    pub(crate) fn spread(binary: &[u8], engines: NonZeroUsize) -> Result<Self, ModuleError> {
        let mut templates = Self::on(&default_engine(), binary)?;
        if engines.get() > 1 {
            templates.further = Further {
                binary: binary.into(),
                templates: (1..engines.get()).map(|_| OnceLock::new()).collect(),
            };
        }
        Ok(templates)
    }

    pub(crate) const fn first(&self) -> &Template {
        &self.first
    }

    /// The template of the next instance.
    pub(crate) fn next(&self) -> &Template {
        let further = &self.further;
        let turn = self.next.fetch_add(1, Ordering::Relaxed) % (further.templates.len() + 1);
        turn.checked_sub(1)
            .and_then(|index| further.templates.get(index))
            .and_then(|template| {
                let translate = || {
                    let module = translate(&default_engine(), &further.binary).ok()?;
                    Template::new(module).ok()
                };
                template.get_or_init(translate).as_ref()
            })
            .unwrap_or(&self.first)
    }
}

fn translate(engine: &Engine, binary: &[u8]) -> Result<Module, ModuleError> {
    Module::new(engine, binary).map_err(|error| module::refusal(binary, error))
}

fn default_engine() -> Engine {
    let mut config = Config::default();
    config.wasm_simd(true).wasm_relaxed_simd(false);
    Engine::new(&config)
}
