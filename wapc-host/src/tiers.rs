//! Two providers of one module: one that is ready at once, and one that is
//! faster once it is ready.

use std::{
    error::Error as StdError,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Weak},
    thread,
};

use parking_lot::Mutex;

use crate::{
    engine::provider::{GuestInstance, WebAssemblyEngineProvider},
    engine::tier::{Promotion, Tier},
    error::EngineError,
    limits::interruption::Interruption,
    protocol::host_call::BoxFuture,
    protocol::state::ModuleState,
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
/// If the second tier refuses the module, cannot be interrupted as the first one
/// can, or makes no instances for the host to move over to, the host stays on the
/// first one. A host that is made when the second tier is ready begins on it.
/// [`Stats::tier`](crate::Stats::tier) says so from then on, with the reason, and
/// a warning is logged.
pub struct Tiers {
    makers: Arc<Makers>,
    first: Box<dyn WebAssemblyEngineProvider>,
    second: Arc<Second>,
}

/// What makes the provider of a tier from a module, binary or text: any closure
/// that does.
pub trait MakeTier:
    Fn(&[u8]) -> Result<Box<dyn WebAssemblyEngineProvider>, EngineError> + Send + Sync + 'static
{
}

impl<F> MakeTier for F where
    F: Fn(&[u8]) -> Result<Box<dyn WebAssemblyEngineProvider>, EngineError> + Send + Sync + 'static
{
}

/// What hears how the second tier came out.
type Observe = dyn Fn(Result<(), &EngineError>) + Send + Sync;

/// What a module and those that replace it have in common.
struct Makers {
    first: Box<dyn MakeTier>,
    second: Box<dyn MakeTier>,
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
struct Second {
    state: Mutex<State>,
}

struct State {
    tier: Tier,
    provider: Option<Arc<dyn WebAssemblyEngineProvider>>,
    /// From which generation on instances are of the second tier: those that
    /// serve before the host has moved over are not.
    from: u64,
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
        first: impl MakeTier,
        second: impl MakeTier,
    ) -> Result<Self, EngineError> {
        Self::observed(module, first, second, |_| {})
    }

    /// As [`Tiers::new`]; `observer` is called, on the second tier's thread,
    /// when it is compiled or refused, and before the host moves over.
    ///
    /// # Errors
    ///
    /// As [`Tiers::new`].
    pub fn observed(
        module: &[u8],
        first: impl MakeTier,
        second: impl MakeTier,
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
        let second = Arc::new(Second::new());
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
            if made.is_err()
                && let Some(second) = job.second.upgrade()
            {
                second.refuse(Panicked);
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

/// No generation comes to this number.
const NOT_YET: u64 = u64::MAX;

/// Why there is no second tier.
#[derive(Debug, thiserror::Error)]
#[error("the second tier panicked")]
struct Panicked;

impl Second {
    const fn new() -> Self {
        Self {
            state: Mutex::new(State {
                tier: Tier::First,
                provider: None,
                from: NOT_YET,
                promotions: Vec::new(),
            }),
        }
    }

    fn finish(
        &self,
        made: Result<Box<dyn WebAssemblyEngineProvider>, EngineError>,
        observer: &Observe,
    ) {
        match made {
            Ok(provider) => {
                observer(Ok(()));
                self.state.lock().provider = Some(provider.into());
                self.move_over();
            }
            Err(error) => {
                observer(Err(&error));
                self.refuse(error);
            }
        }
    }

    /// Moves over each host that waits, and those that come to wait meanwhile.
    fn move_over(&self) {
        loop {
            let mut state = self.state.lock();
            let Some(promotion) = state.promotions.pop() else {
                if state.from == NOT_YET {
                    state.from = 0;
                }
                state.tier = Tier::Second;
                return;
            };
            state.from = promotion.number.saturating_add(1);
            drop(state);
            if let Err(error) = promotion.fulfil() {
                return self.refuse(error);
            }
        }
    }

    /// Leaves all to the first tier.
    fn refuse(&self, error: impl StdError + Send + Sync + 'static) {
        let cause = error.source().map(|cause| format!(": {cause}"));
        log::warn!(
            "there is no second tier, the first one serves on: {error}{}",
            cause.unwrap_or_default()
        );
        let mut state = self.state.lock();
        state.tier = Tier::FirstOnly(Arc::new(error));
        state.promotions.clear();
        let provider = state.provider.take();
        drop(state);
        drop(provider);
    }

    /// What makes an instance for this state, if it is to be of this tier.
    fn provider(&self, instance: &ModuleState) -> Option<Arc<dyn WebAssemblyEngineProvider>> {
        let state = self.state.lock();
        let provider = state.provider.as_ref();
        provider
            .filter(|_| instance.generation() >= state.from)
            .cloned()
    }

    fn tier(&self) -> Tier {
        self.state.lock().tier.clone()
    }
}

impl WebAssemblyEngineProvider for Tiers {
    fn init(&self, state: ModuleState) -> Result<Box<dyn GuestInstance>, EngineError> {
        match self.second.provider(&state) {
            Some(second) => second.init(state),
            None => self.first.init(state),
        }
    }

    fn init_async(
        &self,
        state: ModuleState,
    ) -> BoxFuture<'_, Result<Box<dyn GuestInstance>, EngineError>> {
        match self.second.provider(&state) {
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
        // A host that is moving over just now gets instances of the second tier.
        if matches!(state.tier, Tier::First) && promotion.number < state.from {
            state.promotions.push(promotion);
        }
    }

    fn tier(&self) -> Tier {
        self.second.tier()
    }
}

impl fmt::Debug for Tiers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tiers")
            .field("tier", &self.second.tier())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Barrier,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    };

    use super::*;
    use crate::{
        Error, ErrorKind, ModuleError, Reuse, WapcHost,
        engine::scripted::{ScriptedProvider, answer},
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

    /// Waits until the second tier has come out, one way or the other.
    fn settled(tier: impl Fn() -> Tier) -> Tier {
        loop {
            match tier() {
                Tier::First => thread::yield_now(),
                tier => return tier,
            }
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
        assert!(matches!(host.stats().tier, Tier::First));
        begin.wait();
        done.wait();
        assert!(matches!(settled(|| host.stats().tier), Tier::Second));
        assert_eq!(host.call("", b"").unwrap(), b"second 1");
        assert_eq!(host.generation(), 2);

        assert!(
            matches!(host.rollback(), Err(Error::NoPrevious)),
            "there was no other code"
        );
        host.replace_module(b"3").unwrap();
        assert_eq!(host.call("", b"").unwrap(), b"first 3");
        assert!(matches!(host.stats().tier, Tier::First));
        begin.wait();
        done.wait();
        assert!(matches!(settled(|| host.stats().tier), Tier::Second));
        assert_eq!(host.call("", b"").unwrap(), b"second 3");
        host.rollback().unwrap();
        assert_eq!(host.call("", b"").unwrap(), b"second 1");
        assert!(matches!(host.stats().tier, Tier::Second));

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
        assert!(matches!(settled(|| second.tier()), Tier::Second));
        assert_eq!(host.call("", b"").unwrap(), b"other ");
        assert_eq!(host.generation(), 2);
        assert!(matches!(host.stats().tier, Tier::Only));
        host.rollback().unwrap();
        assert_eq!(host.call("", b"").unwrap(), b"second 1");
        assert!(matches!(host.stats().tier, Tier::Second));
    }

    /// It becomes ready while the swap makes an instance of the first tier.
    #[test]
    fn a_second_tier_that_is_ready_before_the_swap_is_done_serves() {
        let (begin, ready) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
        let (hold, tell) = (Arc::clone(&begin), Arc::clone(&ready));
        let tiers = Tiers::observed(
            b"",
            move |_| {
                let (begin, ready) = (Arc::clone(&begin), Arc::clone(&ready));
                let mut first = ScriptedProvider::new(|guest, _, _| guest.respond(b"first"));
                first = first.with_start(move |_| {
                    begin.wait();
                    ready.wait();
                    Ok(())
                });
                Ok(Box::new(first))
            },
            move |module| {
                hold.wait();
                tier("second")(module)
            },
            move |_| {
                tell.wait();
            },
        )
        .unwrap();

        let host = WapcHost::new(tier("other")(b"").unwrap(), answer).unwrap();
        host.swap_provider(Box::new(tiers)).unwrap();
        assert!(matches!(settled(|| host.stats().tier), Tier::Second));
        assert_eq!(host.call("", b"").unwrap(), b"second");
        host.rollback().unwrap();
        assert_eq!(host.call("", b"").unwrap(), b"other");
    }

    /// Whether this tier is the first one for good, for a reason of type `E`.
    fn is_first_only<E: StdError + 'static>(tier: &Tier, expected: fn(&E) -> bool) -> bool {
        matches!(tier, Tier::FirstOnly(why) if why.downcast_ref().is_some_and(expected))
    }

    /// New instances are of the first tier too, also while the host tries to
    /// move over.
    #[test]
    fn a_second_tier_that_makes_no_instances_leaves_the_first_one() {
        let (begin, tried) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
        let (hold, end) = (Arc::clone(&begin), Arc::clone(&tried));
        let made = Arc::new(Barrier::new(2));
        let wait = Arc::clone(&made);
        let tiers = Tiers::new(b"", tier("first"), move |_| {
            // A host that comes later would begin on this tier.
            wait.wait();
            let (hold, end) = (Arc::clone(&hold), Arc::clone(&end));
            let mut second = ScriptedProvider::echo();
            second = second.with_start(move |_| {
                hold.wait();
                end.wait();
                Err(EngineError::Other("no more room".into()))
            });
            Ok(Box::new(second))
        })
        .unwrap();
        let host = WapcHost::builder(Box::new(tiers))
            .reuse(Reuse::Fresh)
            .build(answer)
            .unwrap();
        made.wait();
        begin.wait();
        assert_eq!(host.call("", b"").unwrap(), b"first");
        assert!(matches!(host.stats().tier, Tier::First));
        tried.wait();
        let tier = settled(|| host.stats().tier);
        assert!(
            is_first_only(&tier, |why| matches!(
                why,
                Error::Init(EngineError::Other(_))
            )),
            "{tier:?}"
        );
        assert_eq!(host.call("", b"").unwrap(), b"first");
        assert_eq!(host.stats().errors.of(ErrorKind::Init), 1);
        assert_eq!(host.generation(), 1);
    }

    #[test]
    fn a_second_tier_that_panics_leaves_the_first_one() {
        let tiers = Tiers::new(b"", tier("first"), |_| panic!("out of luck")).unwrap();
        let host = WapcHost::new(Box::new(tiers), answer).unwrap();
        let tier = settled(|| host.stats().tier);
        assert!(is_first_only(&tier, |_: &Panicked| true), "{tier:?}");
        assert_eq!(host.call("", b"").unwrap(), b"first");
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
        let tier = settled(|| host.stats().tier);
        assert!(
            is_first_only(&tier, |why| matches!(why, EngineError::Module(_))),
            "{tier:?}"
        );
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
        let tier = settled(|| host.stats().tier);
        assert!(
            is_first_only(&tier, |why| matches!(why, EngineError::Other(_))),
            "{tier:?}"
        );
        assert_eq!(host.call("", b"").unwrap(), b"first");
    }
}
