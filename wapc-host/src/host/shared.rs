//! The part of a host that its calls, its swaps and the clock share.

use std::{
    fmt,
    num::NonZeroU64,
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use super::{
    admission::MAX_REQUEST_BYTES,
    generation::{FIRST_GENERATION, Generation, Published, SwapRight},
    settings::Settings,
    tiers::{Code, TierQueue},
};
use crate::{
    clock,
    error::Error,
    error::counts::ErrorCounters,
    limits::guest::Limits,
    pool::Pool,
    protocol::callback::Callback,
    sync::{
        Mutex, MutexGuard, StaticU64,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
};

/// The part of a [`WapcHost`](crate::WapcHost) that its calls, its swaps and
/// the clock share.
pub(crate) struct HostShared {
    pub(crate) id: u64,
    pub(super) callback: Callback,
    pub(super) settings: Settings,
    pub(super) limits: Arc<Limits>,
    /// The greatest length of an operation's name and a payload together.
    pub(super) max_request: usize,
    /// Calls without options have a timeout.
    pub(super) timed: bool,
    /// The timeout of calls without options is zero.
    pub(super) has_no_time: bool,
    /// This host, for work that outlives a borrow.
    pub(super) own: Weak<Self>,
    /// The clock's ticks after which a guest in an async call yields.
    pub(super) yield_ticks: NonZeroU64,
    pub(super) published: Mutex<Published>,
    /// The number of the current generation: a call detects a swap by one load.
    pub(super) generation: AtomicU64,
    /// Serialises swaps.
    pub(super) swaps: SwapRight,
    pub(crate) pool: Pool,
    /// The number of threads that are making or probing an instance.
    pub(super) working: AtomicUsize,
    /// There was an async call.
    pub(super) has_async_callers: AtomicBool,
    pub(super) errors: ErrorCounters,
    pub(super) idle: Mutex<Vec<Idle>>,
    /// Compiles optimized tiers.
    pub(crate) tier_queue: Arc<TierQueue>,
}

/// A slot's number of calls, and the time of its last change as far as the
/// clock has seen.
#[derive(Clone, Copy)]
pub(super) struct Idle {
    pub(super) calls: u64,
    pub(super) since: Instant,
}

impl fmt::Debug for HostShared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WapcHost")
            .field("id", &self.id)
            .field("generation", &self.generation())
            .finish_non_exhaustive()
    }
}

impl HostShared {
    /// Creates the shared part of a host without instances.
    pub(super) fn new(
        code: Code,
        tier_queue: Arc<TierQueue>,
        callback: Callback,
        settings: Settings,
        limits: Limits,
    ) -> Arc<Self> {
        Arc::new_cyclic(|own| Self {
            own: Weak::clone(own),
            has_no_time: limits.timeout == Some(Duration::ZERO),
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            callback,
            timed: limits.timeout.is_some(),
            yield_ticks: NonZeroU64::new(clock::ticks_in(settings.yield_interval))
                .unwrap_or(NonZeroU64::MIN),
            max_request: limits.max_inbound_bytes.min(MAX_REQUEST_BYTES),
            limits: Arc::new(limits),
            published: Mutex::new(Published {
                current: Generation::first(code),
                previous: None,
            }),
            generation: AtomicU64::new(FIRST_GENERATION),
            swaps: SwapRight::default(),
            pool: Pool::new(settings.max_instances),
            working: AtomicUsize::new(0),
            has_async_callers: AtomicBool::default(),
            errors: ErrorCounters::default(),
            idle: Mutex::default(),
            settings,
            tier_queue,
        })
    }

    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    pub(crate) fn published(&self) -> MutexGuard<'_, Published> {
        self.published.lock()
    }

    /// Counts an error that is about to be returned to a caller.
    #[cold]
    pub(crate) fn count_error(&self, error: Error) -> Error {
        self.errors.count(&error);
        error
    }
}

static NEXT_ID: StaticU64 = StaticU64::new(1);
