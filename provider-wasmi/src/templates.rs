//! One module on several engines.

use std::{
    num::NonZeroUsize,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::OnceLock,
};

use wapc_host::{Interruption, ModuleError, module};
use wasmi::{CompilationMode, Config, CustomFuelCosts, Engine, Module, Store};

use crate::{
    instance::{Origin, Template},
    mend::mend,
    rewrite::rewrite,
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

/// A binary that was translated, and rewritten before where that is needed.
struct Code {
    module: Module,
    origin: Origin,
    rewritten: Option<Vec<u8>>,
}

impl Code {
    fn of(engine: &Engine, binary: &[u8]) -> Result<Self, ModuleError> {
        let mended = mend(binary);
        let wasmi_gets = mended.as_deref().unwrap_or(binary);
        let module = translate(engine, wasmi_gets)?.map_err(|error| match &mended {
            // What is refused is refused for what it is.
            Some(_) => match translate(engine, binary) {
                Ok(Err(error)) => module::refusal(binary, error),
                Ok(Ok(_)) => ModuleError::Refused(error.into()),
                Err(panicked) => panicked,
            },
            None => module::refusal(binary, error),
        })?;
        // Only now, since a rewritten module may be valid where this one is not.
        let Some(rewritten) = rewrite(wasmi_gets) else {
            return Ok(Self {
                module,
                origin: Origin::Provider {
                    start_section: None,
                },
                rewritten: mended,
            });
        };
        Ok(Self {
            module: translate(engine, &rewritten.binary)?
                .map_err(|error| ModuleError::Refused(error.into()))?,
            origin: Origin::Provider {
                start_section: rewritten.start,
            },
            rewritten: Some(rewritten.binary),
        })
    }
}

/// Translates a binary, all of it at once.
///
/// A translator that panics refuses the module by it: a guest must not make its
/// host panic.
fn translate(engine: &Engine, binary: &[u8]) -> Result<Result<Module, wasmi::Error>, ModuleError> {
    catch_unwind(AssertUnwindSafe(|| Module::new(engine, binary)))
        .map_err(|_| ModuleError::Refused("wasmi has panicked at its translation".into()))
}

/// What engines of the provider's own are made with.
#[derive(Clone, Copy)]
pub(crate) struct EngineSettings {
    pub(crate) interruption: Interruption,
    pub(crate) stack_bytes: usize,
}

impl EngineSettings {
    fn engine(self) -> Engine {
        let mut config = Config::default();
        config.wasm_simd(true).wasm_relaxed_simd(false);
        // Not when a function is first called: see `translate`.
        config.compilation_mode(CompilationMode::Eager);
        config
            .set_min_stack_height(FIRST_STACK_BYTES.min(self.stack_bytes))
            .set_max_stack_height(self.stack_bytes)
            .set_max_recursion_depth(self.stack_bytes / BYTES_IN_A_CALL);
        if self.interruption != Interruption::Off {
            config.consume_fuel(true).fuel_cost(FUEL_COSTS);
        }
        Engine::new(&config)
    }
}

/// wasmi's own default, which it would have to grow for few guests.
const FIRST_STACK_BYTES: usize = 1_000;

/// What the shallowest call counts for, so that calls without operands have an
/// end too. Compiled code takes about as much.
pub(crate) const BYTES_IN_A_CALL: usize = 64;

/// Translation at first use is free: it would make the first call dearer than
/// the next, and wasmi cannot go on when fuel runs out in it.
const FUEL_COSTS: CustomFuelCosts = CustomFuelCosts {
    bytes_copied_per_fuel: 64,
    fuel_per_bytes_translated: 0,
    fuel_per_bytes_validated: 0,
};

/// Refuses an engine of the user's that is not what the user says it is.
fn check_metering(engine: &Engine, interruption: Interruption) -> Result<(), ModuleError> {
    let metered = Store::new(engine, ()).get_fuel().is_ok();
    let error = match interruption {
        Interruption::Off if metered => {
            "its engine meters fuel (`Config::consume_fuel`), and `Builder::interruption` is `Off`"
        }
        Interruption::Time | Interruption::Fuel | Interruption::TimeAndFuel if !metered => {
            "its engine does not meter fuel (`Config::consume_fuel`), so that \
             `Builder::interruption` must be `Off`"
        }
        _ => return Ok(()),
    };
    Err(ModuleError::Refused(error.into()))
}
