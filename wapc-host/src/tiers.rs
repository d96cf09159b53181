//! Two providers of one module: one that is ready at once, and one that is
//! faster once it is ready.

use std::{
    fmt, mem,
    sync::{Arc, Weak},
    thread,
};

use parking_lot::Mutex;

use crate::{
    BoxFuture, EngineError, GuestInstance, Interruption, ModuleState, WebAssemblyEngineProvider,
    host::Inner,
};

/// A provider that answers with its first tier at once, while its second tier
/// compiles in the background; then the host moves over by a swap, which no
/// call waits for.
///
/// ```
/// # use wapc_host::{EngineError, Tiers, WebAssemblyEngineProvider};
/// # type Provider = Result<Box<dyn WebAssemblyEngineProvider>, EngineError>;
/// # fn interpret(module: &[u8]) -> Provider { unimplemented!() }
/// # fn compile(module: &[u8]) -> Provider { unimplemented!() }
/// # fn example(module: &[u8]) -> Result<(), EngineError> {
/// // interpret: |module| Ok(Box::new(WasmiEngineProvider::new(module)?))
/// // compile: |module| Ok(Box::new(WasmtimeEngineProvider::new(module)?))
/// let provider = Tiers::new(module, interpret, compile)?;
/// # Ok(())
/// # }
/// ```
///
/// Moving over is a swap like any other: instances are new, and what guests
/// keep from call to call is lost once. So tiers are for guests that can be
/// called afresh.
///
/// If the second tier refuses the module, the host stays on the first one; the
/// observer hears of it, and a warning is logged.
pub struct Tiers {
    makers: Makers,
    first: Box<dyn WebAssemblyEngineProvider>,
    second: Arc<Second>,
}

/// Makes the provider of a tier from a module, binary or text.
type Make = dyn Fn(&[u8]) -> Result<Box<dyn WebAssemblyEngineProvider>, EngineError> + Send + Sync;

/// What hears how the second tier came out.
type Observe = dyn Fn(Result<(), &EngineError>) + Send + Sync;

#[derive(Clone)]
struct Makers {
    first: Arc<Make>,
    second: Arc<Make>,
    observer: Arc<Observe>,
}

/// The second tier, once it is there.
#[derive(Default)]
struct Second {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    provider: Option<Arc<dyn WebAssemblyEngineProvider>>,
    failed: bool,
    /// The hosts that wait for it.
    promotions: Vec<Promotion>,
}

impl Tiers {
    /// Makes the first tier, and begins to make the second on a thread of its
    /// own.
    ///
    /// # Errors
    ///
    /// What `first` says of the module, or that the system refuses the thread.
    pub fn new(
        module: &[u8],
        first: impl Fn(&[u8]) -> Result<Box<dyn WebAssemblyEngineProvider>, EngineError>
        + Send
        + Sync
        + 'static,
        second: impl Fn(&[u8]) -> Result<Box<dyn WebAssemblyEngineProvider>, EngineError>
        + Send
        + Sync
        + 'static,
    ) -> Result<Self, EngineError> {
        Self::observed(module, first, second, |_| {})
    }

    /// As [`Tiers::new`]; `observer` is called, on the second tier's thread,
    /// when it is ready or has failed, and before the host moves over.
    ///
    /// # Errors
    ///
    /// As [`Tiers::new`].
    pub fn observed(
        module: &[u8],
        first: impl Fn(&[u8]) -> Result<Box<dyn WebAssemblyEngineProvider>, EngineError>
        + Send
        + Sync
        + 'static,
        second: impl Fn(&[u8]) -> Result<Box<dyn WebAssemblyEngineProvider>, EngineError>
        + Send
        + Sync
        + 'static,
        observer: impl Fn(Result<(), &EngineError>) + Send + Sync + 'static,
    ) -> Result<Self, EngineError> {
        let makers = Makers {
            first: Arc::new(first),
            second: Arc::new(second),
            observer: Arc::new(observer),
        };
        makers.tiers(module)
    }
}

impl Makers {
    fn tiers(&self, module: &[u8]) -> Result<Tiers, EngineError> {
        let first = (self.first)(module)?;
        let second = Arc::new(Second::default());
        let (makers, made, module) = (self.clone(), Arc::clone(&second), module.to_vec());
        thread::Builder::new()
            .name("wapc-tier".to_owned())
            .spawn(move || made.finish((makers.second)(&module), &*makers.observer))
            .map_err(|error| EngineError::Other(error.into()))?;
        Ok(Tiers {
            makers: self.clone(),
            first,
            second,
        })
    }
}

impl Second {
    fn finish(
        &self,
        made: Result<Box<dyn WebAssemblyEngineProvider>, EngineError>,
        observer: &Observe,
    ) {
        match made {
            Ok(provider) => {
                observer(Ok(()));
                let provider: Arc<dyn WebAssemblyEngineProvider> = provider.into();
                let mut state = self.state.lock();
                state.provider = Some(Arc::clone(&provider));
                let promotions = mem::take(&mut state.promotions);
                drop(state);
                for promotion in promotions {
                    promotion.fulfil(&provider);
                }
            }
            Err(error) => {
                log::warn!("the second tier is refused, the first one serves on: {error}");
                observer(Err(&error));
                let mut state = self.state.lock();
                state.failed = true;
                state.promotions.clear();
            }
        }
    }

    fn provider(&self) -> Option<Arc<dyn WebAssemblyEngineProvider>> {
        self.state.lock().provider.clone()
    }
}

impl WebAssemblyEngineProvider for Tiers {
    fn init(&self, state: ModuleState) -> Result<Box<dyn GuestInstance>, EngineError> {
        match self.second.provider() {
            Some(second) => second.init(state),
            None => self.first.init(state),
        }
    }

    fn init_async(
        &self,
        state: ModuleState,
    ) -> BoxFuture<'_, Result<Box<dyn GuestInstance>, EngineError>> {
        match self.second.provider() {
            Some(second) => Box::pin(async move { second.init_async(state).await }),
            None => self.first.init_async(state),
        }
    }

    fn replace(&self, module: &[u8]) -> Result<Box<dyn WebAssemblyEngineProvider>, EngineError> {
        Ok(Box::new(self.makers.tiers(module)?))
    }

    fn interruption(&self) -> Interruption {
        self.first.interruption()
    }

    fn promote(&self, promotion: Promotion) {
        let mut state = self.second.state.lock();
        if !state.failed && state.provider.is_none() {
            state.promotions.push(promotion);
        }
    }
}

impl fmt::Debug for Tiers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tiers")
            .field("second_is_ready", &self.second.provider().is_some())
            .finish_non_exhaustive()
    }
}

/// The right to replace one version of a host's code by a better provider of
/// the same module, once; see [`WebAssemblyEngineProvider::promote`].
#[derive(Debug)]
pub struct Promotion {
    host: Weak<Inner>,
    generation: u64,
}

impl Promotion {
    pub(crate) const fn new(host: Weak<Inner>, generation: u64) -> Self {
        Self { host, generation }
    }

    /// Moves the host over to `provider` by a swap, unless it has gone on to
    /// other code meanwhile. To be called on a thread that may block. That it
    /// fails is logged: the code before serves on.
    pub fn fulfil(self, provider: &Arc<dyn WebAssemblyEngineProvider>) {
        let Some(host) = self.host.upgrade() else {
            return;
        };
        let swapped = host.swap(|_, _| Ok(Arc::clone(provider)), None, Some(self.generation));
        if let Err(error) = swapped {
            let cause = std::error::Error::source(&error)
                .map(|cause| format!(": {cause}"))
                .unwrap_or_default();
            log::warn!("host {} stays on the first tier: {error}{cause}", host.id());
            _ = host.counted(error);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Barrier,
        atomic::{AtomicUsize, Ordering},
    };

    use super::*;
    use crate::{
        ModuleError, WapcHost,
        scripted::{ScriptedProvider, answer},
    };

    /// A guest that answers with the name of its tier and the module.
    fn tier(
        name: &'static str,
    ) -> impl Fn(&[u8]) -> Result<Box<dyn WebAssemblyEngineProvider>, EngineError> {
        move |module| {
            let text = [name.as_bytes(), module].concat();
            Ok(Box::new(ScriptedProvider::new(move |guest, op, msg| {
                guest.request(op, msg)?;
                guest.respond(&text)
            })))
        }
    }

    #[test]
    fn the_first_tier_answers_until_the_second_is_ready() {
        let (begin, done) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
        let (hold, tell) = (Arc::clone(&begin), Arc::clone(&done));
        let compiled = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&compiled);
        let tiers = Tiers::observed(
            b"1",
            tier("first "),
            move |module| {
                hold.wait();
                tier("second ")(module)
            },
            move |outcome| {
                outcome.unwrap();
                count.fetch_add(1, Ordering::SeqCst);
                tell.wait();
            },
        )
        .unwrap();
        let host = WapcHost::new(Box::new(tiers), answer).unwrap();
        assert_eq!(host.call("", b"").unwrap(), b"first 1");
        begin.wait();
        done.wait();
        while host.generation() == 1 {
            thread::yield_now();
        }
        assert_eq!(host.call("", b"").unwrap(), b"second 1");

        host.rollback().unwrap();
        assert_eq!(
            host.call("", b"").unwrap(),
            b"second 1",
            "it is there already"
        );

        host.swap_provider(Box::new(
            Tiers::new(b"2", tier("first "), tier("second ")).unwrap(),
        ))
        .unwrap();
        while host.call("", b"").unwrap() != b"second 2" {
            thread::yield_now();
        }
        assert_eq!(compiled.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn a_host_that_has_moved_on_is_left_alone() {
        let (begin, done) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
        let (hold, tell) = (Arc::clone(&begin), Arc::clone(&done));
        let tiers = Tiers::observed(
            b"1",
            tier("first "),
            move |module| {
                hold.wait();
                tier("second ")(module)
            },
            move |_| {
                tell.wait();
            },
        )
        .unwrap();
        let second = Arc::clone(&tiers.second);
        let host = WapcHost::new(Box::new(tiers), answer).unwrap();
        host.swap_provider(tier("other ")(b"").unwrap()).unwrap();
        begin.wait();
        done.wait();
        while second.provider().is_none() {
            thread::yield_now();
        }
        assert_eq!(host.call("", b"").unwrap(), b"other ");
        assert_eq!(host.generation(), 2);
    }

    #[test]
    fn a_second_tier_that_refuses_the_module_leaves_the_first_one() {
        let done = Arc::new(Barrier::new(2));
        let tell = Arc::clone(&done);
        let tiers = Tiers::observed(
            b"",
            tier("first"),
            |_| Err(ModuleError::Empty.into()),
            move |outcome| {
                outcome.unwrap_err();
                tell.wait();
            },
        )
        .unwrap();
        let host = WapcHost::new(Box::new(tiers), answer).unwrap();
        done.wait();
        assert_eq!(host.call("", b"").unwrap(), b"first");
        assert_eq!(host.generation(), 1);
    }
}
