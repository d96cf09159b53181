//! Which tier a host is on, and the right to move it to a better one.

use std::{
    error::Error as StdError,
    sync::{Arc, Weak},
};

use crate::error::Error;

/// Which tier of its provider a host is on; see
/// [`Stats::tier`](crate::Stats::tier).
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub enum Tier {
    /// The provider has one only.
    #[default]
    Only,
    /// The first of two, until the second one is ready.
    First,
    /// The second of two.
    Second,
    /// The first of two, for as long as this code serves: the second one has
    /// failed, and this is why. An [`EngineError`](crate::EngineError) if it refused the module, an
    /// [`Error`] if the host could not move over to it.
    FirstOnly(Arc<dyn StdError + Send + Sync>),
}

/// The right to make a host's instances anew, once, when a provider makes
/// better ones than before; see
/// [`WebAssemblyEngineProvider::promote`](crate::WebAssemblyEngineProvider::promote).
#[derive(Debug)]
pub struct Promotion {
    host: Weak<dyn Promote>,
    pub(crate) number: u64,
}

/// What a [`Promotion`] moves over: a host.
pub(crate) trait Promote: Send + Sync {
    /// Makes the instances of the code `generation` anew, if it still serves.
    fn make_anew(&self, generation: u64) -> Result<(), Error>;
}

impl Promotion {
    pub(crate) fn new(host: Weak<dyn Promote>, generation: u64) -> Self {
        Self {
            host,
            number: generation,
        }
    }

    /// Moves the host over to new instances of the provider that was given
    /// this, by a swap, unless it has gone on to other code meanwhile, or is
    /// gone. A rollback goes back to the code before, not to the instances
    /// before. To be called on a thread that may block.
    ///
    /// # Errors
    ///
    /// [`Error::Init`]: the provider cannot make the new instances. The ones
    /// before serve on.
    ///
    /// # Panics
    ///
    /// As [`WapcHost::replace_module`](crate::WapcHost::replace_module).
    pub fn fulfil(self) -> Result<(), Error> {
        match self.host.upgrade() {
            Some(host) => host.make_anew(self.number),
            None => Ok(()),
        }
    }
}
