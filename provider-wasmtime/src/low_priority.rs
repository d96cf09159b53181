//! Compilation on one thread of low priority.

use std::sync::{Arc, Mutex, PoisonError};

use rayon::{ThreadPool, ThreadPoolBuildError, ThreadPoolBuilder};

/// Runs `compile` on the process's thread of low priority. wasmtime compiles on
/// the threads of the current pool, so it does not leave that thread.
///
/// # Errors
///
/// The system cannot start the thread.
pub(crate) fn compile<T: Send>(
    compile: impl FnOnce() -> T + Send,
) -> Result<T, ThreadPoolBuildError> {
    Ok(pool()?.install(compile))
}

/// Returns the process's pool of one thread, created on first use.
fn pool() -> Result<Arc<ThreadPool>, ThreadPoolBuildError> {
    static POOL: Mutex<Option<Arc<ThreadPool>>> = Mutex::new(None);

    let mut pool = POOL.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(match &*pool {
        Some(pool) => Arc::clone(pool),
        None => Arc::clone(pool.insert(Arc::new(one_thread()?))),
    })
}

fn one_thread() -> Result<ThreadPool, ThreadPoolBuildError> {
    ThreadPoolBuilder::new()
        .num_threads(1)
        .thread_name(|_| "wapc-compile".to_owned())
        .start_handler(|_| lower_priority())
        .build()
}

/// Lowers the priority of this thread: it gets about a tenth of a busy core, and
/// all of an idle one.
#[cfg(target_os = "linux")]
fn lower_priority() {
    // On Linux this affects only the current thread. If it fails, compilation is
    // still bound to one thread.
    if let Err(error) = rustix::process::nice(10) {
        log::debug!("guests are compiled at normal priority: {error}");
    }
}

/// On other systems the priority belongs to the process, and is kept.
#[cfg(not(target_os = "linux"))]
const fn lower_priority() {}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn all_compilation_is_on_one_thread() {
        let own = || (thread::current().id(), rayon::current_num_threads());
        let (first, threads) = compile(own).unwrap();
        assert_eq!(threads, 1);
        assert_ne!(first, thread::current().id());
        assert_eq!(compile(own).unwrap(), (first, 1));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn only_the_compiling_thread_has_low_priority() {
        let nice = || rustix::process::getpriority_process(None).unwrap();
        let before = nice();
        assert_eq!(compile(nice).unwrap(), (before + 10).min(19));
        assert_eq!(nice(), before);
    }
}
