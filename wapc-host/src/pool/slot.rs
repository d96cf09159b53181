//! One slot of a pool, and exclusive access to it.

use std::{fmt, sync::Arc, time::Instant};

use super::waiters::WaitQueue;
use crate::{
    engine::provider::GuestInstance,
    limits::interruption::Interruption,
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

/// A slot for one instance. The alignment gives it cache lines of its own, which
/// prevents false sharing; 128 bytes, since processors prefetch lines in pairs.
#[repr(align(128))]
pub(crate) struct Slot {
    /// Its index in the pool.
    pub(crate) number: usize,
    /// The waiters for any of the pool's slots.
    queue: Arc<WaitQueue>,
    /// A timed call is running.
    pub(crate) running: AtomicBool,
    /// The slot has an instance. Written under the lock.
    pub(crate) live: AtomicBool,
    /// The number of the instance's code, set before the instance is made.
    /// Written under the lock.
    generation: AtomicU64,
    /// The number of calls that have ended. Written under the lock.
    pub(crate) calls: AtomicU64,
    /// The clock's ticks that those calls took. Written under the lock.
    pub(crate) ticks: AtomicU64,
    state: Mutex<SlotState>,
}

/// The contents of a slot, under its lock.
#[derive(Default)]
pub(crate) struct SlotState {
    /// The instance. `None` until a call needs one, and after a call has lost
    /// it.
    pub(crate) instance: Option<Box<dyn GuestInstance>>,
    /// The number of the instance's code.
    pub(crate) generation: u64,
    /// The ways to interrupt the instance.
    pub(crate) interruption: Interruption,
    /// The slot's number of calls when the instance was installed.
    calls_before: u64,
    /// The instance waits on its thread in functions of WASI.
    pub(crate) waits_on_thread: bool,
    /// A call has begun and not returned normally, so the instance must not be
    /// used again.
    pub(crate) poisoned: bool,
}

/// A new instance on its way into a slot.
pub(crate) struct NewInstance {
    pub(crate) instance: Box<dyn GuestInstance>,
    pub(crate) generation: u64,
    pub(crate) interruption: Interruption,
    pub(crate) waits_on_thread: bool,
}

impl Slot {
    pub(super) fn new(number: usize, queue: Arc<WaitQueue>) -> Self {
        Self {
            number,
            queue,
            running: AtomicBool::default(),
            live: AtomicBool::default(),
            generation: AtomicU64::default(),
            calls: AtomicU64::default(),
            ticks: AtomicU64::default(),
            state: Mutex::default(),
        }
    }

    /// Takes the slot by `deadline`, without queueing.
    pub(crate) fn wait(&self, deadline: Instant) -> Option<SlotGuard<'_>> {
        Some(SlotGuard {
            state: self.state.try_lock_until(deadline)?,
            release: WakeNext(self),
        })
    }

    /// Takes the slot if it is free.
    #[inline(always)]
    pub(super) fn try_hold(&self) -> Option<SlotGuard<'_>> {
        Some(SlotGuard {
            state: self.state.try_lock()?,
            release: WakeNext(self),
        })
    }

    pub(crate) fn is_taken(&self) -> bool {
        self.state.is_locked()
    }

    /// Returns `true` if the slot has an instance of code before `generation`.
    pub(crate) fn holds_before(&self, generation: u64) -> bool {
        self.live.load(Ordering::Acquire) && self.generation.load(Ordering::Relaxed) < generation
    }

    /// Returns `true` if the slot has, or is about to get, an instance of
    /// `generation` or newer code.
    pub(crate) fn has_reached(&self, generation: u64) -> bool {
        self.generation.load(Ordering::Acquire) >= generation
    }

    /// Returns `true` if the slot has, or may be about to get, an instance of
    /// code before `generation`.
    pub(crate) fn may_hold_before(&self, generation: u64) -> bool {
        self.holds_before(generation) || (self.is_taken() && !self.has_reached(generation))
    }

    /// Announces the code of the instance that is about to be made. Called
    /// under the lock.
    pub(crate) fn announce(&self, generation: u64) {
        self.generation.store(generation, Ordering::Release);
    }

    /// Returns the number of calls that the instance has had.
    #[inline]
    pub(crate) fn uses(&self, state: &SlotState) -> u64 {
        self.calls.load(Ordering::Relaxed) - state.calls_before
    }

    /// Takes the instance out. The caller should release the lock before it
    /// drops the instance, which may take long.
    pub(crate) fn take(&self, state: &mut SlotState) -> Option<Box<dyn GuestInstance>> {
        self.live.store(false, Ordering::Relaxed);
        state.instance.take()
    }

    pub(crate) fn install(&self, state: &mut SlotState, new: NewInstance) {
        self.generation.store(new.generation, Ordering::Relaxed);
        self.live.store(true, Ordering::Release);
        *state = SlotState {
            instance: Some(new.instance),
            generation: new.generation,
            interruption: new.interruption,
            waits_on_thread: new.waits_on_thread,
            calls_before: self.calls.load(Ordering::Relaxed),
            poisoned: false,
        };
    }
}

/// Exclusive access to a slot. Dropping it wakes the next waiter.
///
/// It is two pointers long, so that it is passed in registers.
pub(crate) struct SlotGuard<'p> {
    // Dropped before `release`: the slot is free when the next waiter is woken.
    pub(crate) state: MutexGuard<'p, SlotState>,
    release: WakeNext<'p>,
}

impl<'p> SlotGuard<'p> {
    #[inline]
    pub(crate) const fn slot(&self) -> &'p Slot {
        self.release.0
    }
}

impl fmt::Debug for SlotGuard<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SlotGuard")
            .field("number", &self.slot().number)
            .finish_non_exhaustive()
    }
}

struct WakeNext<'p>(&'p Slot);

impl Drop for WakeNext<'_> {
    #[inline]
    fn drop(&mut self) {
        self.0.queue.wake_next();
    }
}
