//! The threads on which modules are compiled.
//!
//! wasmtime compiles on the threads of the current `rayon` pool, by default on rayon's global one. That
//! pool panics if it cannot start a thread, and its threads do not exist in a forked process. So compiling
//! has pools of its own, made on first use.

use std::sync::{Arc, LazyLock, Mutex, PoisonError, TryLockError};

use rayon::{ThreadPool, ThreadPoolBuildError, ThreadPoolBuilder};

/// Runs `compile` on the process's threads for it; with `low_priority`, on its one thread of low
/// priority. On a thread of a pool of the program's, `compile` runs on that pool, unless it is to have
/// low priority.
///
/// If no thread can be started, `compile` runs on this thread alone.
pub(crate) fn run<T: Send>(low_priority: bool, compile: impl FnOnce() -> T + Send) -> T {
    if !low_priority && is_in_pool_of_program() {
        return compile();
    }
    let pool = match low_priority {
        true => pool(&LOW_PRIORITY, one_of_low_priority),
        false => pool(&ALL, all),
    };
    match pool {
        Ok(pool) => pool.install(compile),
        Err(error) => {
            log::debug!("modules are compiled on the caller's thread: {error}");
            on_this_thread(compile)
        }
    }
}

/// Returns `true` on a thread of a pool of the program's.
pub(crate) fn is_in_pool_of_program() -> bool {
    rayon::current_thread_index().is_some()
}

/// Returns `true` in a fork of the process that first compiled.
fn is_forked() -> bool {
    static FIRST: LazyLock<forkguard::Guard> = LazyLock::new(forkguard::new);
    FIRST.clone().detected_fork()
}

static ALL: Pool = Mutex::new(None);
static LOW_PRIORITY: Pool = Mutex::new(None);

/// A pool, and a guard that knows whether this process is a fork of the one that made it.
type Pool = Mutex<Option<(forkguard::Guard, Arc<ThreadPool>)>>;

type BuildPool = fn() -> Result<ThreadPool, ThreadPoolBuildError>;

/// Returns the process's pool.
fn pool(known: &Pool, build: BuildPool) -> Result<Arc<ThreadPool>, ThreadPoolBuildError> {
    let is_forked = is_forked();
    let mut known = match known.try_lock() {
        Ok(known) => known,
        Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
        // In a fork of the moment in which another thread had it, that would never end.
        Err(TryLockError::WouldBlock) if is_forked => return build().map(Arc::new),
        Err(TryLockError::WouldBlock) => known.lock().unwrap_or_else(PoisonError::into_inner),
    };
    if let Some((guard, pool)) = &mut *known {
        if !guard.clone().detected_fork() {
            return Ok(Arc::clone(pool));
        }
        // Dropping it would wait for threads that this process does not have.
        #[expect(clippy::mem_forget, reason = "the pool belongs to the parent process")]
        std::mem::forget(Arc::clone(pool));
    }
    let pool = Arc::new(build()?);
    *known = Some((forkguard::new(), Arc::clone(&pool)));
    Ok(pool)
}

fn all() -> Result<ThreadPool, ThreadPoolBuildError> {
    ThreadPoolBuilder::new()
        .thread_name(|_| "wapc-compile".to_owned())
        .build()
}

fn one_of_low_priority() -> Result<ThreadPool, ThreadPoolBuildError> {
    ThreadPoolBuilder::new()
        .num_threads(1)
        .thread_name(|_| "wapc-compile".to_owned())
        .start_handler(|_| lower_priority())
        .build()
}

/// Makes this thread the only one of a pool, which needs no other thread, and runs `compile` there. The
/// thread stays in the pool. If it is in one already, that is the current pool.
fn on_this_thread<T>(compile: impl FnOnce() -> T) -> T {
    let pool = ThreadPoolBuilder::new()
        .num_threads(1)
        .use_current_thread()
        .build();
    let compiled = compile();
    drop(pool);
    compiled
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
    fn all_compilation_of_low_priority_is_on_one_thread() {
        let own = || (thread::current().id(), rayon::current_num_threads());
        let (first, threads) = run(true, own);
        assert_eq!(threads, 1);
        assert_ne!(first, thread::current().id());
        assert_eq!(run(true, own), (first, 1));
    }

    #[test]
    fn threads_that_compile_at_once_share_the_one_thread() {
        let known = Pool::default();
        let build = || ThreadPoolBuilder::new().num_threads(1).build();
        let first = pool(&known, build).unwrap();
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..1000 {
                        assert!(Arc::ptr_eq(&first, &pool(&known, build).unwrap()));
                    }
                });
            }
        });
    }

    #[test]
    fn the_program_may_bound_compilation_by_a_pool_of_its_own() {
        let pool = ThreadPoolBuilder::new().num_threads(3).build().unwrap();
        assert_eq!(pool.install(|| run(false, rayon::current_num_threads)), 3);
        assert_eq!(pool.install(|| run(true, rayon::current_num_threads)), 1);
    }

    #[test]
    fn without_threads_it_is_on_this_thread() {
        thread::spawn(|| {
            for _ in 0..2 {
                let (thread, threads) = on_this_thread(|| {
                    let (one, other) =
                        rayon::join(|| thread::current().id(), || thread::current().id());
                    assert_eq!(one, other);
                    (one, rayon::current_num_threads())
                });
                assert_eq!((thread, threads), (thread::current().id(), 1));
            }
        })
        .join()
        .unwrap();
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn only_the_compiling_thread_has_low_priority() {
        let nice = || rustix::process::getpriority_process(None).unwrap();
        let before = nice();
        assert_eq!(run(true, nice), (before + 10).min(19));
        assert_eq!(nice(), before);
    }
}
