//! A store whose guest another thread can end, by taking a page away from it.
//!
//! `page_checks.rs` has given the module a memory of one page, from which it loads
//! in each loop. To kill the guest, the page is protected: the next load faults,
//! which wasmtime makes a trap, as for each access that is out of bounds. After
//! the call the page is made accessible again.

#![expect(
    unsafe_code,
    reason = "the protection of a page, and a store that must not be dropped if the page stays protected"
)]

use std::{
    mem::ManuallyDrop,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicBool, AtomicPtr, Ordering},
    },
};

#[cfg(target_os = "linux")]
use rustix::thread::{MembarrierCommand, membarrier};
use wapc_host::engine::{ArmedSwitch, KillSwitch, Killable};
use wasmtime::{AsContext, AsContextMut, Memory, Store, StoreContextMut};

use crate::linker::Data;

/// A store, and what kills its guest.
pub(crate) struct KillableStore {
    kill: Option<Kill>,
    store: ManuallyDrop<Store<Data>>,
}

struct Kill {
    switch: KillSwitch,
    /// The system has refused to make the page accessible again.
    is_stuck: Arc<AtomicBool>,
}

impl KillableStore {
    /// Wraps a store whose guest cannot be killed yet.
    pub(crate) const fn new(store: Store<Data>) -> Self {
        Self {
            kill: None,
            store: ManuallyDrop::new(store),
        }
    }

    /// Makes the guest killable. `memory` is the page, and nobody but the guest's
    /// checks uses it. A memory of another size is ignored.
    pub(crate) fn set_page(&mut self, memory: Memory) {
        let ty = memory.ty(&*self.store);
        if memory.data_size(&*self.store) != PAGE_BYTES || ty.maximum() != Some(ty.minimum()) {
            return;
        }
        let is_stuck = Arc::new(AtomicBool::new(false));
        let switch = KillSwitch::new(Page {
            address: AtomicPtr::new(memory.data_ptr(&*self.store)),
            is_stuck: Arc::clone(&is_stuck),
        });
        self.kill = Some(Kill { switch, is_stuck });
    }

    /// Returns the store for a function of the guest, which can be killed until the
    /// first result is dropped.
    #[inline(always)]
    pub(crate) fn arm(&mut self) -> (Option<ArmedSwitch<'_>>, StoreContextMut<'_, Data>) {
        let armed = match &mut self.kill {
            Some(kill) => Some(kill.switch.arm(&self.store.data().state)),
            None => None,
        };
        (armed, self.store.as_context_mut())
    }

    #[inline(always)]
    pub(crate) fn data(&self) -> &Data {
        self.store.data()
    }

    #[inline(always)]
    pub(crate) fn data_mut(&mut self) -> &mut Data {
        self.store.data_mut()
    }
}

impl AsContext for KillableStore {
    type Data = Data;

    #[inline(always)]
    fn as_context(&self) -> wasmtime::StoreContext<'_, Data> {
        self.store.as_context()
    }
}

impl AsContextMut for KillableStore {
    #[inline(always)]
    fn as_context_mut(&mut self) -> StoreContextMut<'_, Data> {
        self.store.as_context_mut()
    }
}

impl Drop for KillableStore {
    fn drop(&mut self) {
        // Dropping the switch makes the page accessible, if it is not. No thread
        // protects it from then on.
        let is_stuck = self.kill.take().map(|kill| kill.is_stuck);
        if is_stuck.is_some_and(|is_stuck| is_stuck.load(Ordering::Relaxed)) {
            // Whoever got this memory next would fault. So nobody gets it.
            return;
        }
        // SAFETY: `store` is not used after this, and is dropped nowhere else.
        unsafe { ManuallyDrop::drop(&mut self.store) }
    }
}

/// The page of one guest.
struct Page {
    address: AtomicPtr<u8>,
    is_stuck: Arc<AtomicBool>,
}

/// The size of a page of WebAssembly.
pub(crate) const PAGE_BYTES: usize = 64 << 10;

impl Page {
    /// Makes the page accessible or not. Returns `false` if the system refuses.
    #[cfg(target_os = "linux")]
    fn set_accessible(&self, accessible: bool) -> bool {
        use rustix::mm::{MprotectFlags, mprotect};

        let flags = match accessible {
            true => MprotectFlags::READ | MprotectFlags::WRITE,
            false => MprotectFlags::empty(),
        };
        let address = self.address.load(Ordering::Relaxed);
        // SAFETY:
        // - The range is mapped, and is all of one memory of WebAssembly. That memory
        //   belongs to the store of a `KillableStore`, and neither grows nor moves,
        //   since its minimum is its maximum. wasmtime unmaps it when the store is
        //   dropped. `KillableStore` drops the switch before, after which it calls
        //   neither method of `Killable`; nobody else calls this.
        // - An access while it is protected is a fault, and no undefined behaviour. Only
        //   the guest makes one, by instructions for which wasmtime handles faults in the
        //   memories of the store. The host's functions get other memories. wasmtime
        //   writes to a memory when it makes the instance, before it is killed, and when
        //   it drops the store, after it was made accessible.
        unsafe { mprotect(address.cast(), PAGE_BYTES, flags).is_ok() }
    }

    /// Guests are not made killable elsewhere.
    #[cfg(not(target_os = "linux"))]
    fn set_accessible(&self, accessible: bool) -> bool {
        accessible && !self.address.load(Ordering::Relaxed).is_null()
    }
}

impl Killable for Page {
    fn kill(&self) -> bool {
        self.set_accessible(false)
    }

    fn revive(&self) {
        if !self.set_accessible(true) {
            self.is_stuck.store(true, Ordering::Relaxed);
        }
    }

    #[cfg(target_os = "linux")]
    fn barrier(&self) -> Option<fn() -> bool> {
        static IS_REGISTERED: LazyLock<bool> =
            LazyLock::new(|| membarrier(MembarrierCommand::RegisterPrivateExpedited).is_ok());

        let barrier: fn() -> bool = || membarrier(MembarrierCommand::PrivateExpedited).is_ok();
        IS_REGISTERED.then_some(barrier)
    }
}
