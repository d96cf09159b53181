//! Two providers of one module: one that is ready at once, and one that is
//! faster once it is ready.

use std::{
    fmt, mem,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Weak},
    thread,
};

use parking_lot::Mutex;

use crate::{
    BoxFuture, EngineError, GuestInstance, Interruption, ModuleState, WebAssemblyEngineProvider,
    host::{Generation, Inner},
};

/// A provider that answers with its first tier at once, while its second tier
/// compiles in the background; then the host moves over by a swap, which no
/// call waits for.
///
/// ```
/// # use wapc_host::{EngineError, Tiers, WebAssemblyEngineProvider};
/// # type Provider = Result<Box<dyn WebAssemblyEngineProvider>, EngineError>;
/// # fn interpret(_: &[u8]) -> Provider { Err(wapc_host::ModuleError::Empty.into()) }
/// # fn compile(_: &[u8]) -> Provider { Err(wapc_host::ModuleError::Empty.into()) }
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
/// If the second tier refuses the module, or cannot be interrupted as the first
/// one can, the host stays on the first one; the observer hears of it, and a
/// warning is logged.
pub struct Tiers {
    makers: Arc<Makers>,
    first: Box<dyn WebAssemblyEngineProvider>,
    second: Arc<Second>,
}

/// Makes the provider of a tier from a module, binary or text.
type Make = dyn Fn(&[u8]) -> Result<Box<dyn WebAssemblyEngineProvider>, EngineError> + Send + Sync;

/// What hears how the second tier came out.
type Observe = dyn Fn(Result<(), &EngineError>) + Send + Sync;

/// What a module and those that replace it have in common.
struct Makers {
    first: Box<Make>,
    second: Box<Make>,
    observer: Box<Observe>,
    queue: Mutex<Queue>,
}

/// The modules whose second tier is to be made, one after the other: modules
/// that come faster than they compile must not come to a thread each.
#[derive(Default)]
struct Queue {
    jobs: Vec<Job>,
    /// A thread is at work on them.
    running: bool,
}

struct Job {
    module: Vec<u8>,
    /// What the second tier must be interruptible by.
    needed: Interruption,
    /// Gone when no host can come to run the module any more.
    second: Weak<Second>,
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
        let makers = Arc::new(Makers {
            first: Box::new(first),
            second: Box::new(second),
            observer: Box::new(observer),
            queue: Mutex::default(),
        });
        makers.tiers(module)
    }
}

impl Makers {
    fn tiers(self: &Arc<Self>, module: &[u8]) -> Result<Tiers, EngineError> {
        let first = (self.first)(module)?;
        let second = Arc::new(Second::default());
        self.enqueue(Job {
            module: module.to_vec(),
            needed: first.interruption(),
            second: Arc::downgrade(&second),
        })?;
        Ok(Tiers {
            makers: Arc::clone(self),
            first,
            second,
        })
    }

    fn enqueue(self: &Arc<Self>, job: Job) -> Result<(), EngineError> {
        let mut queue = self.queue.lock();
        queue.jobs.retain(|job| job.second.strong_count() > 0);
        queue.jobs.push(job);
        if !queue.running {
            let makers = Arc::clone(self);
            thread::Builder::new()
                .name("wapc-tier".to_owned())
                .spawn(move || makers.work())
                .map_err(|error| EngineError::Other(error.into()))?;
            queue.running = true;
        }
        Ok(())
    }

    /// Makes second tiers until there are none to make.
    fn work(&self) {
        loop {
            let mut queue = self.queue.lock();
            let Some(job) = queue.jobs.pop() else {
                queue.running = false;
                return;
            };
            drop(queue);
            // That a maker panics must not keep other modules from their tier.
            let made = catch_unwind(AssertUnwindSafe(|| self.make(&job)));
            if made.is_err() {
                log::error!("making a second tier panicked; the first one serves on");
            }
        }
    }

    fn make(&self, job: &Job) {
        if job.second.strong_count() == 0 {
            return;
        }
        let made = (self.second)(&job.module).and_then(|second| interruptible(second, job.needed));
        if let Some(second) = job.second.upgrade() {
            second.finish(made, &*self.observer);
        }
    }
}

/// Refuses a second tier under which the host's limits would mean less.
fn interruptible(
    second: Box<dyn WebAssemblyEngineProvider>,
    needed: Interruption,
) -> Result<Box<dyn WebAssemblyEngineProvider>, EngineError> {
    let can = second.interruption();
    if needed.by_time() && !can.by_time() || needed.by_fuel() && !can.by_fuel() {
        let words = format!("the first tier can be interrupted by {needed:?}, this one by {can:?}");
        return Err(EngineError::Other(words.into()));
    }
    Ok(second)
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
                let mut state = self.state.lock();
                state.provider = Some(provider.into());
                let promotions = mem::take(&mut state.promotions);
                drop(state);
                for promotion in promotions {
                    promotion.fulfil();
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

/// The right to make a host's instances anew, once, when a provider makes
/// better ones than before; see [`WebAssemblyEngineProvider::promote`].
#[derive(Debug)]
pub struct Promotion {
    host: Weak<Inner>,
    generation: Weak<Generation>,
}

impl Promotion {
    pub(crate) const fn new(host: Weak<Inner>, generation: Weak<Generation>) -> Self {
        Self { host, generation }
    }

    /// Moves the host over to new instances of the provider that was given
    /// this, by a swap, unless it has gone on to other code meanwhile. A
    /// rollback goes back to the code before, not to the instances before. To
    /// be called on a thread that may block. That it fails is logged: the
    /// instances before serve on.
    pub fn fulfil(self) {
        let Some(host) = self.host.upgrade() else {
            return;
        };
        if let Err(error) = host.make_anew(&self.generation) {
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
        Barrier, OnceLock,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    };

    use super::*;
    use crate::{
        Error, ModuleError, WapcHost,
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

        assert!(
            matches!(host.rollback(), Err(Error::NoPrevious)),
            "there was no other code"
        );
        host.replace_module(b"3").unwrap();
        assert_eq!(host.call("", b"").unwrap(), b"first 3");
        begin.wait();
        done.wait();
        while host.generation() == 3 {
            thread::yield_now();
        }
        assert_eq!(host.call("", b"").unwrap(), b"second 3");
        host.rollback().unwrap();
        assert_eq!(host.call("", b"").unwrap(), b"second 1");

        host.swap_provider(Box::new(
            Tiers::new(b"2", tier("first "), tier("second ")).unwrap(),
        ))
        .unwrap();
        while host.call("", b"").unwrap() != b"second 2" {
            thread::yield_now();
        }
        assert_eq!(compiled.load(Ordering::SeqCst), 2);
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

    /// It becomes ready while the swap makes an instance of the first tier.
    #[test]
    fn a_second_tier_that_is_ready_before_the_swap_is_done_serves() {
        let second = Arc::new(OnceLock::<Arc<Second>>::new());
        let awaited = Arc::clone(&second);
        let begin = Arc::new(Barrier::new(2));
        let hold = Arc::clone(&begin);
        let tiers = Tiers::new(
            b"",
            move |_| {
                let (begin, awaited) = (Arc::clone(&begin), Arc::clone(&awaited));
                let mut first = ScriptedProvider::new(|guest, _, _| guest.respond(b"first"));
                first.start = Arc::new(move |_| {
                    begin.wait();
                    while awaited.get().unwrap().provider().is_none() {
                        thread::yield_now();
                    }
                    Ok(())
                });
                Ok(Box::new(first))
            },
            move |module| {
                hold.wait();
                tier("second")(module)
            },
        )
        .unwrap();
        _ = second.set(Arc::clone(&tiers.second));

        let host = WapcHost::new(tier("other")(b"").unwrap(), answer).unwrap();
        host.swap_provider(Box::new(tiers)).unwrap();
        while host.call("", b"").unwrap() != b"second" {
            thread::yield_now();
        }
        host.rollback().unwrap();
        assert_eq!(host.call("", b"").unwrap(), b"other");
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

    #[test]
    fn a_second_tier_that_keeps_fewer_limits_is_refused() {
        struct Off(Box<dyn WebAssemblyEngineProvider>);
        impl WebAssemblyEngineProvider for Off {
            fn init(&self, state: ModuleState) -> Result<Box<dyn GuestInstance>, EngineError> {
                self.0.init(state)
            }

            fn replace(
                &self,
                module: &[u8],
            ) -> Result<Box<dyn WebAssemblyEngineProvider>, EngineError> {
                self.0.replace(module)
            }
        }

        let (tell, told) = mpsc::channel();
        let tiers = Tiers::observed(
            b"",
            tier("first"),
            |module| Ok(Box::new(Off(tier("second")(module)?))),
            move |outcome| tell.send(outcome.is_err()).unwrap(),
        )
        .unwrap();
        let host = WapcHost::new(Box::new(tiers), answer).unwrap();
        assert!(told.recv().unwrap());
        assert_eq!(host.call("", b"").unwrap(), b"first");
    }
}
