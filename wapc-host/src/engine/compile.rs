//! Compiling within limits: of cost, and of time.

use std::{
    panic::resume_unwind,
    sync::{
        atomic::{AtomicUsize, Ordering},
        mpsc::{self, RecvError, RecvTimeoutError},
    },
    time::Duration,
};

use crate::{
    error::{ModuleError, ModuleLimitError},
    limits::module::ModuleLimits,
    threads::spawn_or_return,
};

/// The greatest number of compiles that were given up and have not ended.
const MAX_ABANDONED: usize = 4;

/// Cheaper modules are compiled on the caller's thread.
const CHEAP: Duration = Duration::from_millis(500);

static ABANDONED: AtomicUsize = AtomicUsize::new(0);

/// Checks `binary` against the limits, and compiles it. Engines call it in place of their compiler.
///
/// A costly module is compiled on a thread of its own, which is abandoned after
/// [`compile_timeout`](ModuleLimits::compile_timeout). If no thread can be started, the module is
/// compiled on the caller's.
///
/// ```
/// use wapc_host::{ModuleLimits, engine::compile};
///
/// let binary = wapc_host::module::binary(b"(module)")?.into_owned();
/// let length = compile(&ModuleLimits::default(), binary, |binary| Ok(binary.len()))?;
/// assert_eq!(length, 8);
/// # Ok::<(), wapc_host::error::ModuleError>(())
/// ```
///
/// # Errors
///
/// [`ModuleError::Limit`] if the module exceeds a limit, one of time too; the errors of `compile`.
///
/// # Panics
///
/// Resumes the panic of `compile`.
pub fn compile<T: Send + 'static>(
    limits: &ModuleLimits,
    binary: Vec<u8>,
    compile: impl FnOnce(&[u8]) -> Result<T, ModuleError> + Send + 'static,
) -> Result<T, ModuleError> {
    let cost = limits.checked_cost(&binary)?;
    match limits.compile_timeout {
        Some(timeout) if cost >= CHEAP => within(timeout, binary, compile),
        _ => compile(&binary),
    }
}

fn within<T, F>(timeout: Duration, binary: Vec<u8>, compile: F) -> Result<T, ModuleError>
where
    T: Send + 'static,
    F: FnOnce(&[u8]) -> Result<T, ModuleError> + Send + 'static,
{
    if ABANDONED.load(Ordering::Relaxed) >= MAX_ABANDONED {
        return Err(ModuleLimitError::Abandoned {
            limit: MAX_ABANDONED,
        }
        .into());
    }
    let (tell, told) = mpsc::sync_channel(1);
    let work = move || {
        let compiled = compile(&binary);
        // Nobody waits for the result of an abandoned compile.
        if tell.send(compiled).is_err() {
            ABANDONED.fetch_sub(1, Ordering::Relaxed);
        }
    };
    let thread = match spawn_or_return("wapc-compile", work) {
        Ok(thread) => thread,
        Err(work) => {
            work();
            return told.recv().map_err(unfinished)?;
        }
    };
    match told.recv_timeout(timeout) {
        Ok(compiled) => compiled,
        Err(RecvTimeoutError::Disconnected) => match thread.join() {
            Err(panic) => resume_unwind(panic),
            Ok(()) => Err(unfinished(RecvError)),
        },
        Err(RecvTimeoutError::Timeout) => {
            // Counted before the receiver is dropped, which tells the thread that it is abandoned.
            ABANDONED.fetch_add(1, Ordering::Relaxed);
            match told.try_recv() {
                Ok(compiled) => {
                    ABANDONED.fetch_sub(1, Ordering::Relaxed);
                    compiled
                }
                Err(_) => Err(ModuleLimitError::Time { limit: timeout }.into()),
            }
        }
    }
}

fn unfinished(_: RecvError) -> ModuleError {
    ModuleError::Refused("a thread has not compiled".into())
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Barrier};

    use super::*;

    #[test]
    #[cfg_attr(miri, ignore = "waits for real time")]
    fn slow_compiles_are_given_up_and_bounded_in_number() {
        let limit = Duration::from_millis(20);
        let end = Arc::new(Barrier::new(MAX_ABANDONED + 1));
        let slow = || {
            let end = Arc::clone(&end);
            within(limit, vec![], move |_| {
                end.wait();
                Ok(())
            })
        };
        for _ in 0..MAX_ABANDONED {
            let given_up = slow();
            let time = ModuleLimitError::Time { limit };
            assert!(matches!(given_up, Err(ModuleError::Limit(error)) if error == time));
        }
        let refused = within(limit, vec![], |_| Ok(()));
        assert!(matches!(
            refused,
            Err(ModuleError::Limit(ModuleLimitError::Abandoned { .. }))
        ));
        end.wait();
        while ABANDONED.load(Ordering::Relaxed) > 0 {
            std::thread::yield_now();
        }
        assert!(within(Duration::MAX, vec![7], |binary| Ok(binary[0])).is_ok_and(|it| it == 7));

        let panicked = std::panic::catch_unwind(|| {
            within(Duration::MAX, vec![], |_| -> Result<(), _> {
                panic!("on purpose")
            })
        });
        assert!(panicked.is_err());
    }
}
