//! Swaps, probes, rollbacks and draining.

use super::*;

#[test]
fn a_swap_takes_effect_for_the_next_call_and_a_failed_one_changes_nothing() {
    let host = versatile().host().unwrap();
    assert_eq!(host.call("count", b"").unwrap(), b"1");
    host.replace_module(b"bad").unwrap_err();
    assert_eq!(
        (host.generation(), host.call("count", b"").unwrap()),
        (1, b"2".to_vec())
    );
    host.replace_module(b"echo").unwrap();
    assert_eq!(
        (host.generation(), host.call("count", b"x").unwrap()),
        (2, b"x".to_vec())
    );
}

#[test]
fn a_swap_during_a_check_out_waits_for_nobody_and_takes_effect_after_it() {
    let host = versatile().host().unwrap();
    let mut held = host.check_out().unwrap();
    thread::scope(|scope| {
        scope.spawn(|| host.replace_module(b"echo").unwrap());
    });
    assert_eq!(held.call("count", b"x").unwrap(), b"1");
    drop(held);
    assert_eq!(host.call("count", b"x").unwrap(), b"x");
}

#[test]
fn a_swap_retires_old_code_and_not_what_a_quicker_caller_runs_already() {
    let host = versatile().host().unwrap();
    assert_eq!(host.call("count", b"").unwrap(), b"1");
    host.shared.retire_before(1);
    assert_eq!(host.call("count", b"").unwrap(), b"2", "of this very code");
    host.shared.retire_before(2);
    assert_eq!(host.call("count", b"").unwrap(), b"1");
}

#[test]
fn a_probe_decides_whether_a_swap_happens_and_leaves_no_trace() {
    let host = versatile().host().unwrap();
    host.call("count", b"").unwrap();
    let refused = host
        .swap()
        .probe(|candidate| {
            assert_eq!(candidate.call("count", b"probe")?, b"probe");
            Err("not good enough".into())
        })
        .module(b"echo");
    assert!(matches!(refused, Err(Error::Probe(_))));
    assert_eq!(
        (host.generation(), host.call("count", b"").unwrap()),
        (1, b"2".to_vec())
    );

    let new = versatile();
    host.swap()
        .probe(|candidate| {
            assert_eq!(candidate.call("count", b"")?, b"1");
            candidate.call("trap", b"").unwrap_err();
            assert_eq!(
                candidate.call("count", b"")?,
                b"1",
                "another instance of it"
            );
            Ok(())
        })
        .provider(Box::new(new))
        .unwrap();
    assert_eq!(
        (host.generation(), host.call("count", b"").unwrap()),
        (2, b"1".to_vec())
    );
}

#[test]
fn a_rollback_brings_the_code_before_back_and_another_one_undoes_it() {
    let host = versatile().host().unwrap();
    assert!(matches!(host.rollback(), Err(Error::NoPrevious)));
    host.replace_module(b"echo").unwrap();
    host.rollback().unwrap();
    assert_eq!(
        (host.generation(), host.call("count", b"x").unwrap()),
        (3, b"1".to_vec())
    );
    host.rollback().unwrap();
    assert_eq!(
        (host.generation(), host.call("count", b"x").unwrap()),
        (4, b"x".to_vec())
    );
    assert_eq!(host.stats().swaps, 3);
}

#[test]
fn draining_waits_for_calls_on_the_old_code_and_for_no_others() {
    let gate = gate(2);
    let host = WapcHost::builder(Box::new(gated(&gate)))
        .max_instances(2)
        .build(answer)
        .unwrap();
    thread::scope(|scope| {
        let call = scope.spawn(|| host.call("wait", b"").unwrap());
        gate.entered.wait();
        let drained = host.swap().drain(Duration::from_millis(20)).module(b"echo");
        assert!(matches!(drained, Err(Error::NotDrained { .. })));
        assert_eq!(
            host.call("count", b"new").unwrap(),
            b"new",
            "the swap has happened"
        );
        let drain = scope.spawn(|| host.swap().drain(Duration::from_secs(60)).module(b"echo"));
        gate.leave.wait();
        assert_eq!(call.join().unwrap(), b"1", "on the code it began on");
        drain.join().unwrap().unwrap();
    });
}
