//! The panic of foreign code in a host function, on its way to the caller of the guest.

use std::any::Any;

use parking_lot::Mutex;

/// Holds the panic of a callback until the engine has unwound the guest.
///
/// It is shared with the host, since the state is dropped when a start function
/// fails.
#[derive(Default)]
pub(crate) struct PanicSlot(Mutex<Option<Box<dyn Any + Send>>>);

impl PanicSlot {
    pub(super) fn put(&self, panic: Box<dyn Any + Send>) {
        *self.0.lock() = Some(panic);
    }

    pub(crate) fn take(&self) -> Option<Box<dyn Any + Send>> {
        self.0.lock().take()
    }
}
