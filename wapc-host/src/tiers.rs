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
/// called afresh. But it is the same module: a rollback goes to the module
/// before it, and a module that replaces it begins with its own first tier.
///
/// Second tiers are made one at a time, that of the newest module first, and
/// not at all for a module that has been replaced for good meanwhile.
///
/// If the second tier refuses the module, the host stays on the first one; the
/// observer hears of it, and a warning is logged.
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
    /// The last version of the host's code of which there is an instance of
    /// the first tier.
    first_serves: u64,
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
            let worker = Worker(Arc::clone(self));
            thread::Builder::new()
                .name("wapc-tier".to_owned())
                .spawn(move || worker.run())
                .map_err(|error| EngineError::Other(error.into()))?;
            queue.running = true;
        }
        Ok(())
    }

    /// Makes the second tier, for those that wait for it.
    fn finish(self: &Arc<Self>, job: &Job) {
        if job.second.strong_count() == 0 {
            return;
        }
        let made = (self.second)(&job.module);
        (self.observer)(made.as_ref().map(|_| ()));
        if let Err(error) = &made {
            log::warn!("the second tier is refused, the first one serves on: {error}");
        }
        let Some(second) = job.second.upgrade() else {
            return;
        };
        let mut state = second.state.lock();
        let promotions = mem::take(&mut state.promotions);
        match made {
            Ok(provider) => {
                let provider: Arc<dyn WebAssemblyEngineProvider> = Arc::new(Promoted {
                    makers: Arc::clone(self),
                    provider,
                });
                state.provider = Some(Arc::clone(&provider));
                drop(state);
                drop(second);
                for promotion in promotions {
                    promotion.fulfil(&provider);
                }
            }
            Err(_) => state.failed = true,
        }
    }
}

/// The thread that makes second tiers, for as long as there are any to make.
struct Worker(Arc<Makers>);

impl Worker {
    fn run(self) {
        loop {
            let mut queue = self.0.queue.lock();
            let Some(job) = queue.jobs.pop() else {
                queue.running = false;
                return;
            };
            drop(queue);
            // That a maker panics must not keep other modules from their tier.
            let made = catch_unwind(AssertUnwindSafe(|| self.0.finish(&job)));
            if made.is_err() {
                log::error!("making a second tier panicked; the first one serves on");
            }
        }
    }
}

impl Second {
    fn provider(&self) -> Option<Arc<dyn WebAssemblyEngineProvider>> {
        self.state.lock().provider.clone()
    }

    /// What makes an instance of the code `generation`; `None` is the first
    /// tier.
    fn provider_for(&self, generation: u64) -> Option<Arc<dyn WebAssemblyEngineProvider>> {
        let mut state = self.state.lock();
        if state.provider.is_none() {
            state.first_serves = generation.max(state.first_serves);
        }
        state.provider.clone()
    }
}

/// The second tier of a module, whose successors begin with the first.
struct Promoted {
    makers: Arc<Makers>,
    provider: Box<dyn WebAssemblyEngineProvider>,
}

impl WebAssemblyEngineProvider for Promoted {
    fn init(&self, state: ModuleState) -> Result<Box<dyn GuestInstance>, EngineError> {
        self.provider.init(state)
    }

    fn init_async(
        &self,
        state: ModuleState,
    ) -> BoxFuture<'_, Result<Box<dyn GuestInstance>, EngineError>> {
        self.provider.init_async(state)
    }

    fn replace(&self, module: &[u8]) -> Result<Box<dyn WebAssemblyEngineProvider>, EngineError> {
        Ok(Box::new(self.makers.tiers(module)?))
    }

    fn interruption(&self) -> Interruption {
        self.provider.interruption()
    }
}

impl WebAssemblyEngineProvider for Tiers {
    fn init(&self, state: ModuleState) -> Result<Box<dyn GuestInstance>, EngineError> {
        match self.second.provider_for(state.generation()) {
            Some(second) => second.init(state),
            None => self.first.init(state),
        }
    }

    fn init_async(
        &self,
        state: ModuleState,
    ) -> BoxFuture<'_, Result<Box<dyn GuestInstance>, EngineError>> {
        match self.second.provider_for(state.generation()) {
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
        match state.provider.clone() {
            None if state.failed => {}
            None => state.promotions.push(promotion),
            // It got ready while the host's instances were made.
            Some(second) if state.first_serves == promotion.generation => {
                drop(state);
                promotion.fulfil(&second);
            }
            Some(_) => {}
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
        mpsc::{Receiver, Sender, channel},
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

        assert!(matches!(host.rollback(), Err(Error::NoPrevious)));

        host.swap_provider(Box::new(
            Tiers::new(b"2", tier("first "), tier("second ")).unwrap(),
        ))
        .unwrap();
        while host.call("", b"").unwrap() != b"second 2" {
            thread::yield_now();
        }
        assert_eq!(compiled.load(Ordering::SeqCst), 1);
    }

    /// A tier that takes as long as the test wants: it sends that it has begun,
    /// and waits for leave.
    fn held(
        name: &'static str,
        began: Sender<()>,
        leave: Receiver<()>,
    ) -> impl Fn(&[u8]) -> Result<Box<dyn WebAssemblyEngineProvider>, EngineError> {
        let (began, leave) = (Mutex::new(began), Mutex::new(leave));
        move |module| {
            began.lock().send(()).unwrap();
            leave.lock().recv().unwrap();
            tier(name)(module)
        }
    }

    fn wait_for(host: &WapcHost, response: &[u8]) {
        while host.call("", b"").unwrap() != response {
            thread::yield_now();
        }
    }

    #[test]
    fn rollback_leaves_the_module_and_not_only_its_tier() {
        let host = WapcHost::new(tier("old")(b"").unwrap(), answer).unwrap();
        host.swap_provider(Box::new(
            Tiers::new(b"1", tier("first "), tier("second ")).unwrap(),
        ))
        .unwrap();
        wait_for(&host, b"second 1");
        host.rollback().unwrap();
        assert_eq!(host.call("", b"").unwrap(), b"old");
        host.rollback().unwrap();
        assert_eq!(
            host.call("", b"").unwrap(),
            b"second 1",
            "it is there already"
        );
    }

    #[test]
    fn a_module_after_the_second_tier_begins_with_the_first() {
        let ((begin, began), (allow, leave)) = (channel(), channel());
        let tiers = Tiers::new(b"1", tier("first "), held("second ", begin, leave)).unwrap();
        let host = WapcHost::new(Box::new(tiers), answer).unwrap();
        allow.send(()).unwrap();
        wait_for(&host, b"second 1");

        host.replace_module(b"2").unwrap();
        assert_eq!(host.call("", b"").unwrap(), b"first 2");
        allow.send(()).unwrap();
        wait_for(&host, b"second 2");
        assert_eq!(began.iter().take(2).count(), 2);
    }

    #[test]
    fn modules_that_nobody_runs_any_more_are_not_compiled() {
        let ((begin, began), (allow, leave)) = (channel(), channel());
        let tiers = Tiers::new(b"0", tier("first "), held("second ", begin, leave)).unwrap();
        let host = WapcHost::new(Box::new(tiers), answer).unwrap();
        began.recv().unwrap();
        for module in [b"1", b"2", b"3", b"4", b"5", b"6"] {
            host.replace_module(module).unwrap();
            assert_eq!(
                host.call("", b"").unwrap(),
                [b"first ", &module[..]].concat()
            );
        }
        // The one that had begun, the current one, and the one before it, to
        // which a rollback may lead.
        for _ in 0..3 {
            allow.send(()).unwrap();
        }
        wait_for(&host, b"second 6");
        host.rollback().unwrap();
        wait_for(&host, b"second 5");
        drop((host, allow));
        assert_eq!(began.iter().count(), 2, "the first one was waited for");
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

    #[test]
    fn a_second_tier_that_is_ready_while_a_swap_makes_instances_of_the_first_takes_over() {
        let made = Arc::new(AtomicUsize::new(0));
        let second_is_ready = Arc::new(Mutex::new(None::<Arc<Second>>));
        let waits_for = Arc::clone(&second_is_ready);
        let begin = Arc::new(Barrier::new(2));
        let hold = Arc::clone(&begin);
        let count = Arc::clone(&made);
        let first = move |_: &[u8]| -> Result<Box<dyn WebAssemblyEngineProvider>, EngineError> {
            let (waits_for, begin) = (Arc::clone(&waits_for), Arc::clone(&begin));
            let count = Arc::clone(&count);
            let mut provider = ScriptedProvider::new(|guest, _, _| guest.respond(b"first"));
            provider.start = Arc::new(move |_| {
                count.fetch_add(1, Ordering::SeqCst);
                begin.wait();
                let second = waits_for.lock().clone().unwrap();
                while second.provider().is_none() {
                    thread::yield_now();
                }
                Ok(())
            });
            Ok(Box::new(provider))
        };
        let tiers = Tiers::new(b"", first, move |module| {
            hold.wait();
            tier("second")(module)
        })
        .unwrap();
        *second_is_ready.lock() = Some(Arc::clone(&tiers.second));
        let host = ScriptedProvider::echo().host();
        host.swap_provider(Box::new(tiers)).unwrap();
        assert_eq!(made.load(Ordering::SeqCst), 1);
        assert_eq!(host.call("", b"").unwrap(), b"second");
        host.rollback().unwrap();
        assert_eq!(host.generation(), 4, "it is there already");
    }
}
