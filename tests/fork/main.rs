//! A process that has made hosts, and forks: in the child every limit still holds.
//!
//! A test of its own, without the harness and its threads.

use std::{process, thread, time::Duration};

use conformance::{
    Capability::{AnyModule, Async, Time},
    Engine, VARIANTS, engines,
};
use fork::{Fork, fork, waitpid};
use guest_fixtures::wat;
use wapc_host::{CallOptions, CancelHandle, Error, Interruption, WapcHost};

/// A child that hangs is ended by the parent after this time.
const PATIENCE: Duration = Duration::from_secs(60);

const SHORT: Duration = Duration::from_millis(100);

fn main() {
    for engine in engines(&[AnyModule, Async, Time]).chain(VARIANTS) {
        let host = host(engine);
        // The threads of the parent run.
        assert_times_out(engine.name, &host);
        smol::block_on(assert_times_out_async(engine.name, &host));

        in_child(engine.name, || check(engine, &host));
        // A child of a child.
        in_child(engine.name, || {
            check(engine, &host);
            in_child(engine.name, || check(engine, &host));
        });
        // The parent goes on.
        check(engine, &host);
    }
    println!("test result: ok. forked processes keep the limits of their guests");
}

fn host(engine: &Engine) -> WapcHost {
    let guest = wat("hostile/loop").expect("a fixture");
    let provider = engine.interruptible(guest.as_bytes(), Interruption::Time);
    WapcHost::builder(provider)
        .max_instances(4)
        .build(|_, _, _, _, _| Ok(vec![]))
        .expect("a host")
}

/// Runs `work` in a forked process, which must end well.
fn in_child(engine: &str, work: impl FnOnce()) {
    match fork().expect("a child") {
        Fork::Child => {
            // The alarm is a thread: the child has none but this one.
            thread::spawn(|| {
                thread::sleep(PATIENCE);
                eprintln!("the child hangs");
                process::exit(2);
            });
            work();
            process::exit(0);
        }
        Fork::Parent(child) => {
            let status = waitpid(child).expect("the child's status");
            assert_eq!(status, 0, "{engine}: the child has failed");
        }
    }
}

fn check(engine: &Engine, old: &WapcHost) {
    assert_eq!(old.call("good", b"").expect("an answer"), b"good");
    assert_times_out(engine.name, old);
    smol::block_on(assert_times_out_async(engine.name, old));
    assert_cancelled(engine.name, old);

    // Another host, whose module is compiled here.
    let new = host(engine);
    assert_times_out(engine.name, &new);
    smol::block_on(assert_times_out_async(engine.name, &new));
    let guest = wat("hostile/loop_counting").expect("a fixture");
    old.replace_module(guest.as_bytes()).expect("a swap");
    assert_times_out(engine.name, old);
}

fn assert_times_out(engine: &str, host: &WapcHost) {
    let options = CallOptions::default().timeout(SHORT);
    let ended = host.with(&options).call("bad", b"");
    assert!(
        matches!(ended, Err(Error::TimedOut { .. })),
        "{engine}: {ended:?}"
    );
}

async fn assert_times_out_async(engine: &str, host: &WapcHost) {
    let options = CallOptions::default().timeout(SHORT);
    let ended = host.with(&options).call_async("bad", b"").await;
    assert!(
        matches!(ended, Err(Error::TimedOut { .. })),
        "{engine}: {ended:?}"
    );
}

fn assert_cancelled(engine: &str, host: &WapcHost) {
    let cancel = CancelHandle::new();
    let options = CallOptions::default().cancel(&cancel);
    let ended = thread::scope(|scope| {
        let call = scope.spawn(|| host.with(&options).call("bad", b""));
        thread::sleep(SHORT / 2);
        cancel.cancel();
        call.join().expect("no panic")
    });
    assert!(
        matches!(ended, Err(Error::Cancelled { .. })),
        "{engine}: {ended:?}"
    );
}
