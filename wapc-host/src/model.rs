//! Model tests of the pool and of swaps. `shuttle` runs each body under many
//! interleavings of its threads, and reports deadlocks and failed assertions.
//! Run them by
//!
//!     RUSTFLAGS='--cfg shuttle' cargo test -p wapc-host --lib --target-dir target/shuttle model::
//!
//! No time passes here (see `sync.rs`), so the tests show that no waiter needs
//! its timed scan. The clock's thread does not run, since the hosts have no
//! timeouts. `SHUTTLE_ITERATIONS` sets the number of interleavings.
#![expect(
    clippy::unwrap_used,
    reason = "an `unwrap` in a test's own functions fails the test"
)]

use std::{
    future::poll_fn,
    pin::pin,
    sync::{Arc, atomic},
    task::{Context, Poll, Waker},
};

use shuttle::{future, sync::atomic::AtomicUsize, thread};

use crate::{
    Error, HostBuilder, Interruption, Limits, ModuleState, Tier, Tiers, WapcHost,
    WebAssemblyEngineProvider,
    engine::{
        GuestInstance, GuestReturn,
        scripted::{ScriptedGuest, ScriptedProvider, answer},
    },
    error::EngineError,
    pool::Pool,
    sync::atomic::Ordering,
};

/// Runs `body` under random interleavings, and under ones with few preemptions,
/// which find other bugs.
pub(crate) fn check(body: fn()) {
    let many = std::env::var("SHUTTLE_ITERATIONS").map_or(2_000, |many| many.parse().unwrap());
    shuttle::check_random(body, many);
    shuttle::check_pct(body, many, 3);
}

/// Asserts that no more threads hold a slot than there are slots.
fn in_a_slot(inside: &AtomicUsize, slots: usize) {
    let others = inside.fetch_add(1, Ordering::SeqCst);
    assert!(others < slots, "a slot has two holders");
    thread::yield_now();
    inside.fetch_sub(1, Ordering::SeqCst);
}

fn take(pool: &Pool) -> crate::pool::SlotGuard<'_> {
    pool.try_take()
        .unwrap_or_else(|| pool.take_queued(None, || Ok::<_, ()>(())).unwrap().unwrap())
}

#[test]
fn places_have_one_holder_and_no_blocked_waiter_is_forgotten() {
    for slots in [1, 2] {
        SLOTS.store(slots, Ordering::SeqCst);
        check(|| {
            let slots = SLOTS.load(Ordering::SeqCst);
            let pool = Arc::new(Pool::new(slots));
            let inside = Arc::new(AtomicUsize::new(0));
            let threads: Vec<_> = (0..3)
                .map(|_| {
                    let (pool, inside) = (Arc::clone(&pool), Arc::clone(&inside));
                    thread::spawn(move || {
                        for _ in 0..2 {
                            let guard = take(&pool);
                            in_a_slot(&inside, slots);
                            drop(guard);
                        }
                    })
                })
                .collect();
            threads.into_iter().for_each(|it| it.join().unwrap());
            assert_eq!(pool.waiting(), 0);
            let mut free = 0;
            pool.for_each_free(|_| free += 1);
            assert_eq!(free, slots);
        });
    }
}

static SLOTS: atomic::AtomicUsize = atomic::AtomicUsize::new(0);

/// Waits like an async call, without the timed scan.
async fn take_async(pool: &Pool) -> crate::pool::SlotGuard<'_> {
    if let Some(guard) = pool.try_take() {
        return guard;
    }
    let mut waiter = None;
    poll_fn(move |context| {
        let waiter = waiter.get_or_insert_with(|| pool.join(context.waker()));
        match pool.try_take_as(waiter, context.waker(), 1) {
            Ok(guard) => Poll::Ready(guard),
            Err(_) => Poll::Pending,
        }
    })
    .await
}

#[test]
fn waiting_futures_are_woken_and_one_that_gives_up_lets_the_next_in() {
    check(|| {
        let pool = Arc::new(Pool::new(1));
        let inside = Arc::new(AtomicUsize::new(0));
        let mut threads: Vec<_> = (0..2)
            .map(|_| {
                let (pool, inside) = (Arc::clone(&pool), Arc::clone(&inside));
                thread::spawn(move || {
                    future::block_on(async {
                        for _ in 0..2 {
                            let _held = take_async(&pool).await;
                            in_a_slot(&inside, 1);
                        }
                    });
                })
            })
            .collect();
        let blocking = Arc::clone(&pool);
        threads.push(thread::spawn(move || drop(take(&blocking))));
        let gives_up = Arc::clone(&pool);
        threads.push(thread::spawn(move || {
            let mut waiting = pin!(take_async(&gives_up));
            let mut context = Context::from_waker(Waker::noop());
            _ = waiting.as_mut().poll(&mut context);
            thread::yield_now();
        }));
        threads.into_iter().for_each(|it| it.join().unwrap());
        assert_eq!(pool.waiting(), 0);
    });
}

/// A guest that is counted while it lives.
struct Counted {
    guest: Box<dyn GuestInstance>,
    alive: Arc<AtomicUsize>,
}

impl GuestInstance for Counted {
    fn call(&mut self, op_length: i32, msg_length: i32) -> GuestReturn {
        thread::yield_now();
        self.guest.call(op_length, msg_length)
    }

    fn state(&mut self) -> &mut ModuleState {
        self.guest.state()
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.alive.fetch_sub(1, Ordering::SeqCst);
    }
}

/// An engine whose guests answer with the number of their code, which is one
/// more after each swap.
struct Numbered {
    number: u64,
    scripted: ScriptedProvider,
    alive: Arc<AtomicUsize>,
}

impl Numbered {
    fn new(number: u64, alive: &Arc<AtomicUsize>) -> Self {
        let alive = Arc::clone(alive);
        let scripted = ScriptedProvider::new(move |guest: &mut ScriptedGuest, _, _| {
            guest.respond(number.to_string().as_bytes())
        });
        Self {
            number,
            scripted,
            alive,
        }
    }
}

impl WebAssemblyEngineProvider for Numbered {
    fn init(&self, state: ModuleState) -> Result<Box<dyn GuestInstance>, EngineError> {
        self.alive.fetch_add(1, Ordering::SeqCst);
        Ok(Box::new(Counted {
            guest: self.scripted.init(state)?,
            alive: Arc::clone(&self.alive),
        }))
    }

    fn replace(&self, _: &[u8]) -> Result<Box<dyn WebAssemblyEngineProvider>, EngineError> {
        Ok(Box::new(Self::new(self.number + 1, &self.alive)))
    }

    fn interruption(&self) -> Interruption {
        Interruption::TimeAndFuel
    }
}

/// Calls `host`, and returns the number of the code that has answered.
fn number(host: &WapcHost) -> u64 {
    let answer = String::from_utf8(host.call("", b"").unwrap());
    answer.unwrap().parse().unwrap()
}

/// Calls `host`, and asserts that the code that has answered was published
/// before the call, or later.
fn call(host: &WapcHost) {
    let published = host.generation();
    let ran = number(host);
    assert!(ran >= published, "{ran} ran after {published} was there");
    assert!(ran <= host.generation());
}

/// A host of two instances without timeouts.
fn two_slots(builder: HostBuilder) -> Arc<WapcHost> {
    let host = builder
        .limits(Limits::unlimited())
        .max_instances(2)
        .idle_timeout(None)
        .wait_limit(None)
        .build(answer)
        .unwrap();
    Arc::new(host)
}

/// Runs two callers and `swappers` on two slots, and asserts that no instance is
/// left over.
fn calls_beside(swappers: &[fn(&WapcHost)]) {
    let alive = Arc::new(AtomicUsize::new(0));
    let host = two_slots(WapcHost::builder(Box::new(Numbered::new(1, &alive))));
    let mut threads: Vec<_> = (0..2)
        .map(|_| {
            let host = Arc::clone(&host);
            thread::spawn(move || {
                for _ in 0..2 {
                    call(&host);
                }
            })
        })
        .collect();
    for swap in swappers.iter().copied() {
        let host = Arc::clone(&host);
        threads.push(thread::spawn(move || swap(&host)));
    }
    threads.into_iter().for_each(|it| it.join().unwrap());

    assert_eq!(host.generation(), 1 + swappers.len() as u64);
    assert_tidy(&host, &alive);
    call(&host);
    drop(host);
    assert_eq!(alive.load(Ordering::SeqCst), 0, "instances leak");
}

/// Asserts that all instances are of the current code and counted by the host.
fn assert_tidy(host: &WapcHost, alive: &AtomicUsize) {
    let generation = host.generation();
    let mut slots = host.shared.pool.slots();
    assert!(
        !slots.any(|slot| slot.holds_before(generation)),
        "old code is left"
    );
    let ready = host.shared.published().current.ready.lock().len();
    let live = host.stats().live;
    assert_eq!(alive.load(Ordering::SeqCst), live + ready);
}

#[test]
fn calls_beside_a_swap_run_what_was_published_and_leave_no_old_code() {
    check(|| calls_beside(&[|host| host.replace_module(b"").unwrap()]));
}

#[test]
fn calls_beside_two_swaps_run_what_was_published_and_leave_no_old_code() {
    check(|| {
        calls_beside(&[
            |host| host.replace_module(b"").unwrap(),
            |host| host.replace_module(b"").unwrap(),
        ]);
    });
}

#[test]
fn after_draining_no_call_runs_the_old_code() {
    check(|| {
        let alive = Arc::new(AtomicUsize::new(0));
        let host = two_slots(WapcHost::builder(Box::new(Numbered::new(1, &alive))));
        let threads = [(); 2].map(|()| {
            let host = Arc::clone(&host);
            thread::spawn(move || call(&host))
        });
        host.swap()
            .drain(std::time::Duration::MAX)
            .module(b"")
            .unwrap();
        // The call of any instance of old code is over, and it is dropped.
        let mut slots = host.shared.pool.slots();
        assert!(slots.all(|slot| !slot.holds_before(2)));
        threads.into_iter().for_each(|it| it.join().unwrap());
    });
}

/// The number that the optimized tier adds to the number of its module.
const OPTIMIZED: u64 = 100;

/// Tiers for modules of one byte, their number. `optimized` counts the modules
/// that the optimized tier has compiled.
fn numbered_tiers(alive: &Arc<AtomicUsize>, optimized: &Arc<AtomicUsize>) -> Tiers {
    let number = |module: &[u8]| u64::from(*module.first().unwrap());
    let (counted, count) = (Arc::clone(alive), Arc::clone(optimized));
    let alive = Arc::clone(alive);
    Tiers::new(
        move |module| Ok(Box::new(Numbered::new(number(module), &alive))),
        move |module| {
            count.fetch_add(1, Ordering::SeqCst);
            thread::yield_now();
            Ok(Box::new(Numbered::new(
                OPTIMIZED + number(module),
                &counted,
            )))
        },
    )
}

#[test]
fn after_a_tier_up_a_swap_and_a_rollback_the_optimized_tier_of_the_last_code_serves() {
    check(|| {
        let (alive, optimized) = (Arc::default(), Arc::default());
        let builder = WapcHost::tiered(&[1], numbered_tiers(&alive, &optimized));
        let host = two_slots(builder.unwrap());
        let swap = {
            let host = Arc::clone(&host);
            thread::spawn(move || host.replace_module(&[2]).unwrap())
        };
        let rollback = {
            let host = Arc::clone(&host);
            thread::spawn(move || match host.rollback() {
                Ok(()) => true,
                Err(Error::NoPrevious) => false,
                Err(error) => panic!("{error}"),
            })
        };
        let first = number(&host);
        assert!([1, 2].contains(&(first % OPTIMIZED)), "{first}");
        swap.join().unwrap();
        let serving = match rollback.join().unwrap() {
            true => 1,
            false => 2,
        };
        while !host.shared.tier_queue.is_idle() {
            thread::yield_now();
        }

        assert!(matches!(host.stats().tier, Tier::Optimized));
        assert_eq!(number(&host), OPTIMIZED + serving);
        assert!(optimized.load(Ordering::SeqCst) <= 2, "compiled again");
        assert_tidy(&host, &alive);
        drop(host);
        assert_eq!(alive.load(Ordering::SeqCst), 0, "instances leak");
    });
}
