//! Instances: how many there are, who gets one, and how long it lives.

use super::*;

#[test]
fn a_check_out_holds_the_state_and_refuses_its_own_thread() {
    let host = versatile().host().unwrap();
    let mut held = host.check_out().unwrap();
    assert_eq!(held.call("count", b"").unwrap(), b"1");
    assert!(matches!(
        host.call("echo", b""),
        Err(Error::Reentrant { .. })
    ));
    held.call("trap", b"").unwrap_err();
    assert_eq!(held.call("count", b"").unwrap(), b"1", "a new instance");
    let mut buffer = vec![];
    held.call_into("count", b"", &mut buffer).unwrap();
    assert_eq!(buffer, b"2");
    assert_eq!(held.call_with("count", b"", <[u8]>::len).unwrap(), 1);
    drop(held);
    assert_eq!(host.call("count", b"").unwrap(), b"4");
}

#[test]
fn threads_take_turns_and_each_gets_its_own_answer() {
    let (threads, calls) = if cfg!(miri) { (3, 5) } else { (8, 2_000) };
    let host = versatile().host().unwrap();
    let barrier = Barrier::new(threads);
    let answered = AtomicUsize::new(0);
    thread::scope(|scope| {
        for thread in 0..threads {
            let (host, barrier, answered) = (&host, &barrier, &answered);
            scope.spawn(move || {
                barrier.wait();
                for call in 0..calls {
                    let payload = format!("{thread}/{call}");
                    assert_eq!(
                        host.call("echo", payload.as_bytes()).unwrap(),
                        payload.as_bytes()
                    );
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    assert_eq!(answered.into_inner(), threads * calls);
}

#[test]
fn as_many_calls_run_at_once_as_there_may_be_instances_and_no_more_exist() {
    let gate = gate(4);
    let host = WapcHost::builder(Box::new(gated(&gate)))
        .max_instances(3)
        .wait_limit(Duration::ZERO)
        .build(answer)
        .unwrap();
    assert_eq!(
        host.stats().live,
        1,
        "the first one, and no other in advance"
    );
    for _ in 0..10 {
        host.call("count", b"").unwrap();
    }
    assert_eq!(host.stats().live, 1, "one caller needs one");
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| host.call("wait", b"").unwrap());
        }
        gate.entered.wait();
        let stats = host.stats();
        assert_eq!((stats.live, stats.idle), (3, 0));
        assert!(matches!(host.call("count", b""), Err(Error::Busy { .. })));
        gate.leave.wait();
    });
    let stats = host.stats();
    assert_eq!((stats.live, stats.idle, stats.calls), (3, 3, 13));
    assert_eq!(stats.errors.of(crate::error::ErrorKind::Busy), 1);
}

#[test]
fn whoever_waits_is_served_in_the_order_of_coming() {
    let gate = gate(2);
    let host = WapcHost::builder(Box::new(gated(&gate)))
        .build(answer)
        .unwrap();
    let served = Mutex::new(vec![]);
    thread::scope(|scope| {
        scope.spawn(|| host.call("wait", b"").unwrap());
        gate.entered.wait();
        for number in 0..4 {
            let (host, served) = (&host, &served);
            scope.spawn(move || {
                let mut held = host.check_out().unwrap();
                served.lock().push(number);
                held.call("count", b"").unwrap();
            });
            while host.stats().waiting <= number {
                thread::yield_now();
            }
        }
        gate.leave.wait();
    });
    assert_eq!(served.into_inner(), [0, 1, 2, 3]);
}

#[test]
fn a_call_of_the_own_host_takes_another_instance_if_there_may_be_one() {
    let slot: Arc<std::sync::OnceLock<WapcHost>> = Arc::default();
    let own = Arc::downgrade(&slot);
    let host = WapcHost::builder(Box::new(versatile()))
        .max_instances(2)
        .build(move |_, _, _, _, payload| {
            let own = own.upgrade().unwrap();
            Ok(own.get().unwrap().call("echo", payload)?)
        })
        .unwrap();
    let host = slot.get_or_init(|| host);
    assert_eq!(host.call("ask", b"x").unwrap(), b"x");
    assert_eq!(host.stats().live, 2);
}

#[test]
fn an_instance_is_used_for_as_many_calls_as_the_host_says() {
    let count = |reuse| {
        let host = WapcHost::builder(Box::new(versatile()))
            .reuse(reuse)
            .build(answer)
            .unwrap();
        [(); 5].map(|()| String::from_utf8(host.call("count", b"").unwrap()).unwrap())
    };
    assert_eq!(count(Reuse::Keep), ["1", "2", "3", "4", "5"]);
    assert_eq!(
        count(Reuse::Recycle(2.try_into().unwrap())),
        ["1", "2", "1", "2", "1"]
    );
    assert_eq!(count(Reuse::Fresh), ["1"; 5]);
}

#[test]
fn idle_instances_retire_but_for_the_least_number() {
    let gate = gate(4);
    let host = WapcHost::builder(Box::new(gated(&gate)))
        .max_instances(3)
        .idle_timeout(Duration::ZERO)
        .build(answer)
        .unwrap();
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| host.call("wait", b"").unwrap());
        }
        gate.entered.wait();
        gate.leave.wait();
    });
    let shared = &host.shared;
    clock::ClockClient::maintain(&**shared);
    clock::ClockClient::maintain(&**shared);
    assert_eq!(host.stats().live, 1);
    host.call("count", b"").unwrap();
}
