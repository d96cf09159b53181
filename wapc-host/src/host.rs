//! The service object: one guest module, called from any thread.

use std::{
    any::Any,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::{Mutex, MutexGuard};

use crate::{
    callback::{BoxError, HostCallback, Within, is_within},
    error::{EngineError, Error, ProtocolError},
    lent::{Loan, Sink},
    module_state::ModuleState,
    provider::{GuestInstance, WebAssemblyEngineProvider},
};

/// A guest module that is called by operation name, and whose code can be
/// replaced while it is called.
///
/// It is `Send + Sync` and called through `&self`; share it in an `Arc`. It
/// has one instance of the guest, whose state lives on from call to call;
/// threads that call at the same time take turns.
///
/// An instance that trapped, exited or broke the protocol is dropped, and the
/// next call gets a new one.
pub struct WapcHost {
    id: u64,
    callback: Arc<dyn HostCallback>,
    /// What new instances are made of.
    current: Mutex<Arc<Generation>>,
    /// The number of `current`, so that a call sees a swap by one load.
    generation: AtomicU64,
    slot: Mutex<Slot>,
}

/// One version of the guest's code.
struct Generation {
    number: u64,
    provider: Box<dyn WebAssemblyEngineProvider>,
    /// The instance that was made to see whether the version works.
    first: Mutex<Option<Box<dyn GuestInstance>>>,
}

/// The place of the one instance. Empty after a failure.
struct Slot {
    generation: u64,
    instance: Option<Box<dyn GuestInstance>>,
    /// A call has begun and not ended well: the instance must not be used
    /// again. Found true only after the engine has panicked.
    spoiled: bool,
}

impl WapcHost {
    /// A host of `provider`'s guest, whose calls `callback` answers: a closure
    /// over (host id, binding, namespace, operation, payload).
    ///
    /// Makes the first instance, so that its start functions have run.
    ///
    /// # Errors
    ///
    /// [`Error::Init`].
    ///
    /// # Panics
    ///
    /// If a start function calls the host and `callback` panics.
    pub fn new<F>(provider: Box<dyn WebAssemblyEngineProvider>, callback: F) -> Result<Self, Error>
    where
        F: Fn(u64, &str, &str, &str, &[u8]) -> Result<Vec<u8>, BoxError> + Send + Sync + 'static,
    {
        Self::with_callback(provider, callback)
    }

    /// The same as [`WapcHost::new`] for a type that implements
    /// [`HostCallback`].
    ///
    /// # Errors
    ///
    /// [`Error::Init`].
    ///
    /// # Panics
    ///
    /// If a start function calls the host and `callback` panics.
    pub fn with_callback(
        provider: Box<dyn WebAssemblyEngineProvider>,
        callback: impl HostCallback + 'static,
    ) -> Result<Self, Error> {
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        let callback: Arc<dyn HostCallback> = Arc::new(callback);
        let instance = init(&*provider, id, &callback)?;
        Ok(Self {
            id,
            callback,
            current: Mutex::new(Arc::new(Generation {
                number: FIRST_GENERATION,
                provider,
                first: Mutex::new(None),
            })),
            generation: AtomicU64::new(FIRST_GENERATION),
            slot: Mutex::new(Slot {
                generation: FIRST_GENERATION,
                instance: Some(instance),
                spoiled: false,
            }),
        })
    }

    /// This host's number, which no other host in the process has: the first
    /// argument of the callback.
    #[must_use]
    pub const fn id(&self) -> u64 {
        self.id
    }

    /// How many modules this host has run, the present one included: 1, and
    /// one more after each swap.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Calls the guest's `operation` with `payload` and returns its response.
    ///
    /// # Errors
    ///
    /// Any variant of [`Error`]; each says what became of the instance.
    ///
    /// # Panics
    ///
    /// If the host callback panics, with its panic. The host stays usable.
    pub fn call(&self, operation: &str, payload: &[u8]) -> Result<Vec<u8>, Error> {
        self.turn(operation)?.call(operation, payload)
    }

    /// Like [`WapcHost::call`], with the response in `response`: cleared
    /// first, and grown where it must be. After an error its contents are
    /// unspecified.
    ///
    /// A buffer that is used again and again makes calls without allocation.
    ///
    /// # Errors
    ///
    /// As [`WapcHost::call`].
    ///
    /// # Panics
    ///
    /// As [`WapcHost::call`].
    pub fn call_into(
        &self,
        operation: &str,
        payload: &[u8],
        response: &mut Vec<u8>,
    ) -> Result<(), Error> {
        self.turn(operation)?
            .call_into(operation, payload, response)
    }

    /// Like [`WapcHost::call`], lending the response to `read` in the guest's
    /// memory, without copying it out. Returns what `read` returned.
    ///
    /// `read` runs inside the guest's call: while it does, the guest waits,
    /// and calling this host is refused ([`Error::Reentrant`]). A guest that
    /// responds several times has each response read; the last result counts.
    ///
    /// # Errors
    ///
    /// As [`WapcHost::call`]. `read` may have run all the same: a guest can
    /// fail after its response.
    ///
    /// # Panics
    ///
    /// As [`WapcHost::call`], and if `read` panics, with its panic, after the
    /// guest has finished the call. The instance lives on then.
    pub fn call_with<R: Send>(
        &self,
        operation: &str,
        payload: &[u8],
        read: impl FnMut(&[u8]) -> R + Send,
    ) -> Result<R, Error> {
        self.turn(operation)?.call_with(operation, payload, read)
    }

    /// The instance, for as many calls as one likes without other callers in
    /// between: they share its state, and cost less than through the host.
    ///
    /// Waits until the instance is free. Other callers wait until the returned
    /// value is dropped; calling the host itself from the thread that holds it
    /// is refused ([`Error::Reentrant`]). A swap meanwhile takes effect for
    /// the next check-out.
    ///
    /// # Errors
    ///
    /// [`Error::Init`], [`Error::Reentrant`].
    ///
    /// # Panics
    ///
    /// If a new instance must be made, its start functions call the host, and
    /// the callback panics.
    pub fn check_out(&self) -> Result<CheckedOut<'_>, Error> {
        Ok(CheckedOut {
            turn: self.turn("(check-out)")?,
            _within: Within::enter(self.id),
        })
    }

    /// Replaces the guest's code by `module` (binary or text) on the same
    /// engine with the same settings.
    ///
    /// Everything slow or fallible happens first, while calls go on with the
    /// old code: compiling, linking, making an instance, its start functions.
    /// Then calls that begin after this returns run the new code. A call that
    /// is running finishes on the code it began on. The guest's state does not
    /// outlive its code.
    ///
    /// # Errors
    ///
    /// [`Error::Init`]; nothing has changed then.
    ///
    /// # Panics
    ///
    /// If a start function calls the host and the callback panics; nothing has
    /// changed then.
    pub fn replace_module(&self, module: &[u8]) -> Result<(), Error> {
        let provider = Arc::clone(&self.current.lock())
            .provider
            .replace(module)
            .map_err(Error::Init)?;
        let first = init(&*provider, self.id, &self.callback)?;

        let mut current = self.current.lock();
        let number = current.number + 1;
        *current = Arc::new(Generation {
            number,
            provider,
            first: Mutex::new(Some(first)),
        });
        self.generation.store(number, Ordering::Release);
        drop(current);

        self.retire_before(number);
        Ok(())
    }

    /// Drops the instance in this thread if it is idle and of code older than
    /// `generation`. A busy one goes when its slot is next used.
    fn retire_before(&self, generation: u64) {
        if let Some(mut slot) = self.slot.try_lock()
            && slot.generation < generation
        {
            let old = slot.instance.take();
            drop(slot);
            drop(old);
        }
    }

    /// Waits for the instance and makes sure that it is of the current code.
    #[inline]
    fn turn(&self, operation: &str) -> Result<Turn<'_>, Error> {
        if is_within(self.id) {
            return Err(Error::Reentrant {
                operation: operation.to_owned(),
                host_id: self.id,
            });
        }
        let mut guard = self.slot.lock();
        let slot = &mut *guard;
        if slot.generation != self.generation.load(Ordering::Acquire) {
            self.fill(&mut slot.instance, &mut slot.generation)?;
            slot.spoiled = false;
        }
        Ok(Turn {
            host: self,
            slot: guard,
        })
    }

    /// Puts an instance of the current code into `place`.
    #[cold]
    fn fill<'s>(
        &self,
        place: &'s mut Option<Box<dyn GuestInstance>>,
        generation: &mut u64,
    ) -> Result<&'s mut Box<dyn GuestInstance>, Error> {
        *place = None;
        let current = Arc::clone(&self.current.lock());
        let first = current.first.lock().take();
        let instance = match first {
            Some(instance) => instance,
            None => init(&*current.provider, self.id, &self.callback)?,
        };
        *generation = current.number;
        Ok(place.insert(instance))
    }
}

impl fmt::Debug for WapcHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WapcHost")
            .field("id", &self.id)
            .field("generation", &self.generation())
            .finish_non_exhaustive()
    }
}

/// A host's instance, held for a sequence of calls; see
/// [`WapcHost::check_out`].
///
/// After a call that lost the instance, the next one gets a new one, of the
/// host's current code.
#[derive(Debug)]
pub struct CheckedOut<'h> {
    turn: Turn<'h>,
    _within: Within,
}

impl CheckedOut<'_> {
    /// As [`WapcHost::call`].
    ///
    /// # Errors
    ///
    /// As [`WapcHost::call`], but never [`Error::Reentrant`].
    ///
    /// # Panics
    ///
    /// As [`WapcHost::call`].
    pub fn call(&mut self, operation: &str, payload: &[u8]) -> Result<Vec<u8>, Error> {
        self.turn.call(operation, payload)
    }

    /// As [`WapcHost::call_into`].
    ///
    /// # Errors
    ///
    /// As [`WapcHost::call`], but never [`Error::Reentrant`].
    ///
    /// # Panics
    ///
    /// As [`WapcHost::call`].
    pub fn call_into(
        &mut self,
        operation: &str,
        payload: &[u8],
        response: &mut Vec<u8>,
    ) -> Result<(), Error> {
        self.turn.call_into(operation, payload, response)
    }

    /// As [`WapcHost::call_with`].
    ///
    /// # Errors
    ///
    /// As [`WapcHost::call_with`], but never [`Error::Reentrant`].
    ///
    /// # Panics
    ///
    /// As [`WapcHost::call_with`].
    pub fn call_with<R: Send>(
        &mut self,
        operation: &str,
        payload: &[u8],
        read: impl FnMut(&[u8]) -> R + Send,
    ) -> Result<R, Error> {
        self.turn.call_with(operation, payload, read)
    }
}

/// The exclusive use of a host's instance.
struct Turn<'h> {
    host: &'h WapcHost,
    slot: MutexGuard<'h, Slot>,
}

impl Turn<'_> {
    #[inline]
    fn call(&mut self, operation: &str, payload: &[u8]) -> Result<Vec<u8>, Error> {
        let mut response = Vec::new();
        self.call_into(operation, payload, &mut response)?;
        Ok(response)
    }

    #[inline]
    fn call_into(
        &mut self,
        operation: &str,
        payload: &[u8],
        response: &mut Vec<u8>,
    ) -> Result<(), Error> {
        self.converse(operation, payload, &mut |bytes| {
            response.clear();
            response.extend_from_slice(bytes);
        })
    }

    #[inline]
    fn call_with<R: Send>(
        &mut self,
        operation: &str,
        payload: &[u8],
        mut read: impl FnMut(&[u8]) -> R + Send,
    ) -> Result<R, Error> {
        let host_id = self.host.id;
        let mut result = None;
        let outcome = self.converse(operation, payload, &mut |bytes| {
            // The guest has done nothing wrong: it finishes its call first.
            result = Some(catch_unwind(AssertUnwindSafe(|| {
                let _within = Within::enter(host_id);
                read(bytes)
            })));
        });
        match (outcome, result) {
            (_, Some(Err(panic))) => resume_unwind(panic),
            (Err(error), _) => Err(error),
            (Ok(()), Some(Ok(result))) => Ok(result),
            (Ok(()), None) => Err(Error::Protocol {
                operation: operation.to_owned(),
                source: ProtocolError::NoResponse,
            }),
        }
    }

    /// One call: lends the caller's bytes, runs the guest, and looks at how it
    /// went.
    #[inline]
    fn converse(
        &mut self,
        operation: &str,
        payload: &[u8],
        mut sink: &mut Sink<'_>,
    ) -> Result<(), Error> {
        let op_length = length("operation", operation.len())?;
        let msg_length = length("payload", payload.len())?;
        let slot = &mut *self.slot;
        let instance = match &mut slot.instance {
            Some(instance) if !slot.spoiled => instance,
            // The call before this one lost it.
            empty => self.host.fill(empty, &mut slot.generation)?,
        };

        slot.spoiled = true;
        let mut loan = Loan::new(&mut **instance, operation, payload, &mut sink);
        let returned = loan.instance().call(op_length, msg_length);
        let responded = loan.end().responded();
        drop(loan);
        if matches!(returned, Ok(1)) && responded {
            slot.spoiled = false;
            return Ok(());
        }
        match Failure::of(operation, returned, instance.state()) {
            Failure::Error(error @ Error::Guest { .. }) => {
                slot.spoiled = false;
                Err(error)
            }
            Failure::Error(error) => {
                slot.instance = None;
                Err(error)
            }
            Failure::Panic(panic) => {
                slot.instance = None;
                resume_unwind(panic)
            }
        }
    }
}

impl fmt::Debug for Turn<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Turn")
            .field("host", &self.host)
            .finish_non_exhaustive()
    }
}

/// How a call went that has no response to show.
enum Failure {
    Error(Error),
    Panic(Box<dyn Any + Send>),
}

impl Failure {
    #[cold]
    fn of(operation: &str, returned: Result<i32, EngineError>, state: &mut ModuleState) -> Self {
        if let Some(panic) = state.panic_slot().take() {
            return Self::Panic(panic);
        }
        let operation = operation.to_owned();
        let guest_error = state.take_guest_error();
        let protocol = |operation, source| Error::Protocol { operation, source };
        Self::Error(match (returned, guest_error) {
            (Ok(0 | 1), Some(message)) => Error::Guest { operation, message },
            (Ok(0), None) => protocol(operation, ProtocolError::NoError),
            (Ok(1), None) => protocol(operation, ProtocolError::NoResponse),
            (Ok(other), _) => protocol(operation, ProtocolError::Returned(other)),
            (Err(EngineError::Trap(trap)), guest_error) => Error::Trapped {
                operation,
                trap,
                guest_error,
            },
            (Err(EngineError::Exit(code)), _) => Error::Exited { operation, code },
            (Err(EngineError::Protocol(source)), _) => protocol(operation, source),
            (Err(source), _) => Error::Engine { operation, source },
        })
    }
}

/// Makes an instance for the host `id`.
fn init(
    provider: &dyn WebAssemblyEngineProvider,
    id: u64,
    callback: &Arc<dyn HostCallback>,
) -> Result<Box<dyn GuestInstance>, Error> {
    let state = ModuleState::new(id, Arc::clone(callback));
    let panic = Arc::clone(state.panic_slot());
    provider.init(state).map_err(|error| match panic.take() {
        Some(panic) => resume_unwind(panic),
        None => Error::Init(error),
    })
}

/// A length as it travels: an unsigned 32-bit number in an `i32`.
fn length(what: &'static str, bytes: usize) -> Result<i32, Error> {
    u32::try_from(bytes)
        .map(u32::cast_signed)
        .map_err(|_| Error::TooLarge { what, bytes })
}

const FIRST_GENERATION: u64 = 1;

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

#[cfg(test)]
mod tests;
