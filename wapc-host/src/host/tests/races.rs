//! What threads may do to each other: swaps beside calls, guests that outlive
//! their caller, user code at awkward moments.

use std::{
    pin::pin,
    sync::{atomic::AtomicBool, mpsc},
    task::{Context, Waker},
};

use super::*;

/// Waits until `done`; fails after half a minute.
fn until(mut done: impl FnMut() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(
            began.elapsed() < Duration::from_secs(30),
            "it never comes true"
        );
        thread::yield_now();
    }
}

/// Runs `body` on a thread of its own, so that a deadlock fails the test.
fn in_time(body: impl FnOnce() + Send + 'static) {
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        body();
        tell.send(()).unwrap();
    });
    told.recv_timeout(Duration::from_secs(30))
        .expect("it ends, and well");
}

/// A provider whose instances wait, while they are made, for `gate` if `shut`.
fn slow_start(gate: &Arc<Gate>, shut: &Arc<AtomicBool>) -> ScriptedProvider {
    let (gate, shut) = (Arc::clone(gate), Arc::clone(shut));
    let mut provider = versatile();
    provider.start = Arc::new(move |_| {
        if shut.swap(false, Ordering::SeqCst) {
            gate.entered.wait();
            gate.leave.wait();
        }
        Ok(())
    });
    provider
}

#[test]
fn draining_waits_for_a_call_that_is_making_an_instance_of_the_old_code() {
    let (gate, shut) = (gate(2), Arc::new(AtomicBool::new(false)));
    let host = slow_start(&gate, &shut).host();
    host.call("trap", b"").unwrap_err();
    shut.store(true, Ordering::SeqCst);
    thread::scope(|scope| {
        let call = scope.spawn(|| host.call("count", b"old").unwrap());
        gate.entered.wait();
        let drained = host.swap().drain(Duration::from_millis(20)).module(b"echo");
        gate.leave.wait();
        assert_eq!(call.join().unwrap(), b"1", "it runs the old code");
        assert!(
            matches!(drained, Err(Error::NotDrained { .. })),
            "{drained:?}"
        );
    });
    assert_eq!(host.call("count", b"new").unwrap(), b"new");
}

#[test]
fn draining_may_take_for_ever() {
    let host = versatile().host();
    host.swap().drain(Duration::MAX).module(b"echo").unwrap();
    assert_eq!(host.call("count", b"x").unwrap(), b"x");
}

#[test]
fn a_swap_within_a_swap_is_refused() {
    in_time(|| {
        let host = versatile().host();
        let refused = host
            .swap()
            .probe(|_| Ok(host.replace_module(b"echo")?))
            .module(b"echo");
        let Err(Error::Probe(cause)) = refused else {
            panic!("{refused:?}");
        };
        assert!(matches!(
            cause.downcast_ref(),
            Some(Error::Reentrant { .. })
        ));
        assert_eq!(host.generation(), 1);
        host.replace_module(b"echo").unwrap();
    });
}

/// Makes `host` have as many instances as it may.
fn fill_all(host: &WapcHost) {
    thread::scope(|scope| {
        let instances = host.inner.pool.places().len();
        let all = Arc::new(Barrier::new(instances));
        for _ in 0..instances {
            let all = Arc::clone(&all);
            scope.spawn(move || {
                let mut held = host.check_out().unwrap();
                held.call("echo", b"").unwrap();
                all.wait();
            });
        }
    });
    assert_eq!(host.stats().live, host.inner.pool.places().len());
}

#[test]
fn a_swap_leaves_as_many_instances_as_there_were() {
    let host = WapcHost::builder(Box::new(versatile()))
        .max_instances(3)
        .build(answer)
        .unwrap();
    fill_all(&host);
    for _ in 0..2 {
        host.replace_module(b"echo").unwrap();
        let stats = host.stats();
        assert_eq!((stats.live, stats.idle), (3, 3));
        assert!(host.inner.published().current.ready.lock().is_empty());
    }

    let held = host.check_out().unwrap();
    host.rollback().unwrap();
    let stats = host.stats();
    assert_eq!((stats.live, stats.idle), (3, 2), "one runs the old code");
    drop(held);
    let stats = host.stats();
    assert_eq!((stats.live, stats.idle), (3, 3));
    assert!(host.inner.published().current.ready.lock().is_empty());
}

#[test]
#[cfg_attr(miri, ignore = "waits for real time")]
fn idle_instances_of_a_host_without_limits_retire_too() {
    let host = WapcHost::builder(Box::new(versatile()))
        .limits(Limits::unlimited())
        .max_instances(3)
        .idle_timeout(Duration::ZERO)
        .build(answer)
        .unwrap();
    fill_all(&host);
    until(|| host.stats().live == 1);
}

#[test]
#[cfg_attr(miri, ignore = "waits for real time")]
fn a_guest_that_has_outlived_its_caller_ends_with_its_time() {
    let (entered, ended) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicBool::new(false)),
    );
    let (tell, tell_end) = (Arc::clone(&entered), Arc::clone(&ended));
    let provider = ScriptedProvider::new(move |guest, _, _| {
        tell.store(true, Ordering::SeqCst);
        while guest.state.check().is_ok() {
            thread::yield_now();
        }
        tell_end.store(true, Ordering::SeqCst);
        Ok(0)
    });
    let host = WapcHost::builder(Box::new(provider))
        // Longer than the clock ticks when nobody runs.
        .limits(Limits::default().timeout(Duration::from_millis(400)))
        .build(answer)
        .unwrap();
    {
        let mut call = pin!(host.call_async("", b""));
        until(|| {
            let poll = call.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            assert!(poll.is_pending());
            entered.load(Ordering::SeqCst)
        });
    }
    until(|| ended.load(Ordering::SeqCst));
}
