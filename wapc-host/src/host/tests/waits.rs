//! Waiting told from running, and swaps from within a host's own code.

use std::sync::{OnceLock, Weak, mpsc};

use super::*;
use crate::{WapcHost, protocol::host_call::BoxFuture};

const LONG: Duration = Duration::from_secs(30);

/// Runs `work` on a thread and fails if it does not end.
fn ends<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (tell, told) = mpsc::channel();
    thread::spawn(move || tell.send(work()));
    told.recv_timeout(LONG).expect("it has to end")
}

/// A guest that computes until its time is over in the operation `loop`.
fn looping() -> ScriptedProvider {
    ScriptedProvider::new(|guest, op, msg| {
        let (operation, payload) = guest.request(op, msg)?;
        if operation == "loop" {
            loop {
                guest.check()?;
                thread::yield_now();
            }
        }
        guest.respond(&payload)
    })
}

/// Lets a caller wait for the only instance, and give it back without a call.
fn wait_without_a_call(host: &WapcHost, time: Duration) {
    let held = host.check_out().unwrap();
    thread::scope(|scope| {
        let waiter = scope.spawn(|| drop(host.check_out().unwrap()));
        while host.stats().waiting == 0 {
            thread::yield_now();
        }
        thread::sleep(time);
        drop(held);
        waiter.join().unwrap();
    });
}

#[test]
fn the_wait_of_one_caller_is_not_taken_from_the_time_of_another() {
    let host = looping().host().unwrap();
    wait_without_a_call(&host, Duration::from_millis(300));
    let options = CallOptions::default()
        .timeout(Duration::from_millis(250))
        .timeout_includes_wait(true);
    assert_eq!(host.with(&options).call("echo", b"x").unwrap(), b"x");
}

#[test]
fn the_wait_of_one_caller_is_not_reported_by_another() {
    let host = looping().host().unwrap();
    wait_without_a_call(&host, Duration::from_millis(300));
    let options = CallOptions::default().timeout(Duration::from_millis(20));
    let error = host.with(&options).call("loop", b"").unwrap_err();
    let Error::TimedOut {
        began: true,
        waited,
        ..
    } = &error
    else {
        panic!("{error:?}");
    };
    assert_eq!(*waited, Duration::ZERO, "{error}");
}

#[test]
fn the_wait_is_included_in_the_timeout_of_the_host_too() {
    let host = WapcHost::builder(Box::new(looping()))
        .limits(Limits::default().timeout(Duration::from_millis(100)))
        .build(answer)
        .unwrap();
    let options = CallOptions::default().timeout_includes_wait(true);
    let held = host.check_out().unwrap();
    let error = thread::scope(|scope| {
        let call = scope.spawn(|| host.with(&options).call("echo", b""));
        let began = Instant::now();
        while !call.is_finished() && began.elapsed() < Duration::from_secs(5) {
            thread::yield_now();
        }
        drop(held);
        call.join().unwrap()
    });
    assert!(
        matches!(error, Err(Error::TimedOut { began: false, .. })),
        "{error:?}"
    );
}

#[test]
fn a_start_that_takes_all_the_time_is_not_said_to_have_had_none() {
    let provider = looping().with_start(|guest| {
        if guest.calls() == 0 && SLOW.get().is_some() {
            loop {
                guest.check()?;
                thread::yield_now();
            }
        }
        Ok(())
    });
    static SLOW: OnceLock<()> = OnceLock::new();
    let host = WapcHost::builder(Box::new(provider))
        .reuse(Reuse::Fresh)
        .build(answer)
        .unwrap();
    host.call("echo", b"").unwrap();
    SLOW.set(()).unwrap();
    let options = CallOptions::default().deadline(Instant::now() + Duration::from_millis(50));
    let error = host.with(&options).call("echo", b"").unwrap_err();
    assert!(!error.to_string().contains("no time left"), "{error}");
}

/// A callback that has a host after that is built.
type Later = Arc<OnceLock<Weak<WapcHost>>>;

fn calling(
    wait_limit: Option<Duration>,
    act: impl Fn(&WapcHost) -> Result<(), Error> + Send + Sync + 'static,
) -> Arc<WapcHost> {
    let later = Later::default();
    let of = Arc::clone(&later);
    let host = WapcHost::builder(Box::new(versatile()))
        .wait_limit(wait_limit)
        .build(move |_, _, _, _, _| {
            let host = of.get().and_then(Weak::upgrade).ok_or("not yet")?;
            act(&host).map_err(|error| format!("{error:?}"))?;
            Ok(vec![])
        })
        .unwrap();
    let host = Arc::new(host);
    later.set(Arc::downgrade(&host)).unwrap();
    host
}

/// A guest whose start function calls its host, and fails with what that says.
fn asking_at_start() -> Box<ScriptedProvider> {
    Box::new(versatile().with_start(|guest| match guest.ask(b"")? {
        Ok(_) => Ok(()),
        Err(error) => {
            let error = String::from_utf8_lossy(&error).into_owned();
            Err(EngineError::Other(error.into()))
        }
    }))
}

fn says(result: Result<(), Error>) -> String {
    match result {
        Ok(()) => "swapped".to_owned(),
        Err(error) => format!("{error:?}"),
    }
}

#[test]
fn a_swap_in_a_start_function_of_an_async_swap_is_refused_at_once() {
    let said = ends(|| {
        let host = calling(None, |host| host.replace_module(b"echo"));
        says(block_on(host.swap().provider_async(asking_at_start())))
    });
    assert!(said.contains("Reentrant"), "{said}");
}

#[test]
fn an_async_swap_in_a_start_function_of_an_async_swap_is_refused_at_once() {
    let said = ends(|| {
        let host = calling(None, |host| block_on(host.replace_module_async(b"echo")));
        says(block_on(host.swap().provider_async(asking_at_start())))
    });
    assert!(said.contains("Reentrant"), "{said}");
}

#[test]
fn an_async_swap_in_a_start_function_of_a_swap_is_refused_at_once() {
    let said = ends(|| {
        let host = calling(None, |host| block_on(host.replace_module_async(b"echo")));
        says(host.swap().provider(asking_at_start()))
    });
    assert!(said.contains("Reentrant"), "{said}");
}

#[test]
fn a_swap_in_a_probe_of_an_async_swap_is_refused_at_once() {
    for is_async in [false, true] {
        let said = ends(move || {
            let host = calling(None, |_| Ok(()));
            let (swap, own) = (host.swap(), Arc::clone(&host));
            let inner = move || Ok(own.replace_module(b"echo")?);
            let swap = match is_async {
                false => swap.probe(move |_| inner()),
                true => swap.probe_async(move |_| Box::pin(async move { inner() })),
            };
            says(block_on(swap.module_async(b"echo")))
        });
        assert!(said.contains("Reentrant"), "{is_async}: {said}");
    }
}

#[test]
fn a_swap_in_an_async_probe_of_a_blocking_swap_is_refused_at_once() {
    let said = ends(|| {
        let host = calling(None, |_| Ok(()));
        let own = Arc::clone(&host);
        let swap = host.swap().probe_async(move |_| {
            Box::pin(async move { Ok(own.replace_module_async(b"echo").await?) })
        });
        says(swap.module(b"echo"))
    });
    assert!(said.contains("Reentrant"), "{said}");
}

#[test]
fn draining_in_an_own_callback_is_refused_at_once() {
    for is_async in [false, true] {
        let said = ends(move || {
            let host = calling(None, move |host| {
                let swap = host.swap().drain(Duration::MAX);
                match is_async {
                    false => swap.module(b"echo"),
                    true => block_on(swap.module_async(b"echo")),
                }
            });
            let said = host.call("ask", b"").unwrap_err().to_string();
            assert_eq!(host.generation(), 1);
            said
        });
        assert!(said.contains("Reentrant"), "{is_async}: {said}");
    }
}

#[test]
fn draining_while_an_instance_is_checked_out_is_refused_at_once() {
    for is_async in [false, true] {
        let said = ends(move || {
            let host = versatile().host().unwrap();
            let _held = host.check_out().unwrap();
            let swap = host.swap().drain(Duration::MAX);
            says(match is_async {
                false => swap.module(b"echo"),
                true => block_on(swap.module_async(b"echo")),
            })
        });
        assert!(said.contains("Reentrant"), "{is_async}: {said}");
    }
}

#[test]
fn two_hosts_that_swap_each_other_at_start_part_at_the_wait_limit() {
    let said = ends(|| {
        let limit = Some(Duration::from_millis(200));
        let other: Arc<OnceLock<Arc<WapcHost>>> = Arc::default();
        let both = Arc::new(Barrier::new(2));
        let (of, meet) = (Arc::clone(&other), Arc::clone(&both));
        let one = calling(limit, move |_| {
            meet.wait();
            of.get().unwrap().replace_module(b"echo")
        });
        let of = Arc::clone(&one);
        let two = calling(limit, move |_| {
            both.wait();
            of.replace_module(b"echo")
        });
        other.set(Arc::clone(&two)).unwrap();
        thread::scope(|scope| {
            let first = scope.spawn(|| says(one.swap_provider(asking_at_start())));
            let second = scope.spawn(|| says(two.swap_provider(asking_at_start())));
            [first.join().unwrap(), second.join().unwrap()]
        })
    });
    assert!(said.iter().any(|said| said.contains("Busy")), "{said:?}");
}

#[test]
fn a_spawner_that_runs_nothing_does_not_outlive_a_deadline() {
    let took = ends(|| {
        let kept: Arc<Mutex<Vec<BoxFuture<'static, ()>>>> = Arc::default();
        let keep = Arc::clone(&kept);
        let build = WapcHost::builder(Box::new(ScriptedProvider::echo()))
            .reuse(Reuse::Fresh)
            .spawner(move |task| keep.lock().push(task))
            .build_async(async |_| Ok(vec![]));
        let host = block_on(build).unwrap();
        host.call("echo", b"").unwrap();
        let began = Instant::now();
        let deadline = began + Duration::from_millis(100);
        let options = CallOptions::default().deadline(deadline);
        host.with(&options).call("echo", b"").unwrap_err();
        began.elapsed()
    });
    assert!(took < Duration::from_secs(5), "{took:?}");
}

#[test]
fn a_panic_in_a_spawned_task_is_resumed_in_the_swap() {
    let panicked = ends(|| {
        let build = WapcHost::builder(Box::new(ScriptedProvider::echo()))
            .spawner(|task| drop(thread::spawn(|| block_on(task))))
            .build_async(async |_| Ok(vec![]));
        let host = block_on(build).unwrap();
        let asking = ScriptedProvider::echo().with_start(|_| panic!("on purpose"));
        catch_unwind(AssertUnwindSafe(|| host.swap_provider(Box::new(asking))))
            .map_err(|panic| panic.downcast_ref::<&str>().map(ToString::to_string))
            .map(says)
    });
    assert_eq!(panicked, Err(Some("on purpose".to_owned())));
}

#[test]
fn the_futures_of_swaps_can_be_spawned() {
    const fn spawned<T: Send>(_: &T) {}
    let host = versatile().host().unwrap();
    spawned(&host.replace_module_async(b"echo"));
    let swap = host.swap().drain(LONG);
    let swap = swap.probe_async(|_| Box::pin(async { Ok(()) }));
    spawned(&swap.module_async(b"echo"));
    spawned(&host.swap().rollback_async());
}

#[test]
fn a_timeout_of_zero_ends_the_call_before_it_begins() {
    let host = versatile().host().unwrap();
    for options in [
        CallOptions::default().timeout(Duration::ZERO),
        CallOptions::default().deadline(Instant::now()),
        CallOptions::default()
            .timeout(Duration::ZERO)
            .timeout_includes_wait(true),
    ] {
        let error = host.with(&options).call("count", b"").unwrap_err();
        assert!(matches!(error, Error::TimedOut { began: false, .. }));
    }
    assert_eq!(host.call("count", b"").unwrap(), b"1");
}
