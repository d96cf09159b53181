//! Compiling while others need the processor more.

use std::sync::{Arc, Mutex, PoisonError};

use rayon::{ThreadPool, ThreadPoolBuildError, ThreadPoolBuilder};

/// Runs `compile` on the one thread that all gentle compilations of the process
/// share, which is of low priority. wasmtime compiles in parallel on the threads
/// of the pool that it is called in, so it stays on that thread.
///
/// # Errors
///
/// The system refuses the thread.
pub(crate) fn compile<T: Send>(
    compile: impl FnOnce() -> T + Send,
) -> Result<T, ThreadPoolBuildError> {
    Ok(pool()?.install(compile))
}

/// The process's, made when it is first needed.
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

/// Gives this thread about a tenth of a core that others want as well, and all
/// of one that nobody wants.
#[cfg(target_os = "linux")]
fn lower_priority() {
    // Of this thread alone, on Linux. Without it, compiling is still bounded.
    if let Err(error) = rustix::process::nice(10) {
        log::debug!("guests are compiled at normal priority: {error}");
    }
}

/// Elsewhere the priority is the whole process's.
#[cfg(not(target_os = "linux"))]
const fn lower_priority() {}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn all_is_done_on_one_thread() {
        let own = || (thread::current().id(), rayon::current_num_threads());
        let (first, threads) = compile(own).unwrap();
        assert_eq!(threads, 1);
        assert_ne!(first, thread::current().id());
        assert_eq!(compile(own).unwrap(), (first, 1));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_thread_is_of_lower_priority_and_no_other_is() {
        let nice = || rustix::process::getpriority_process(None).unwrap();
        let before = nice();
        assert_eq!(compile(nice).unwrap(), (before + 10).min(19));
        assert_eq!(nice(), before);
    }
}
