//! Async calls, of guests that can be suspended and of one that cannot.

use std::{
    future::{pending, poll_fn},
    pin::pin,
    sync::atomic::AtomicBool,
    task::{Context, Poll, Waker},
};

use super::*;
use crate::{CheckedOutAsync, HostBuilder, OwnedHostCall, block_on::block_on, error::ErrorKind};

/// Answers with what it was asked, after having been polled twice.
async fn slow_answer(call: OwnedHostCall) -> Result<Vec<u8>, BoxError> {
    let mut polled = false;
    poll_fn(|context| {
        context.waker().wake_by_ref();
        match mem::replace(&mut polled, true) {
            false => Poll::Pending,
            true => Poll::Ready(()),
        }
    })
    .await;
    answer(
        call.host_id(),
        call.binding(),
        call.namespace(),
        call.operation(),
        call.payload(),
    )
}

/// A guest with the operations of [`versatile`] that are called here.
fn suspendable() -> ScriptedProvider {
    ScriptedProvider::new_async(|guest, op, msg| {
        Box::pin(async move {
            let (operation, payload) = guest.request(op, msg)?;
            match operation.as_str() {
                "echo" => guest.respond(&payload),
                "count" => guest.respond(guest.calls().to_string().as_bytes()),
                "trap" => Err(Trap::new(TrapCode::Unreachable, vec![]).into()),
                "ask" => match guest.ask_async(&payload).await? {
                    Ok(response) => guest.respond(&response),
                    Err(error) => guest.fail(&error),
                },
                other => guest.fail(format!("unknown operation: {other}").as_bytes()),
            }
        })
    })
}

fn host() -> WapcHost {
    block_on(WapcHost::builder(Box::new(suspendable())).build_async(slow_answer)).unwrap()
}

#[test]
fn an_engine_that_cannot_suspend_says_so_and_its_instance_lives_on() {
    let host = versatile().host().unwrap();
    assert_eq!(host.call("count", b"").unwrap(), b"1");
    let mut response = b"before".to_vec();
    for _ in 0..2 {
        let refused = block_on(host.call_async("count", b"")).unwrap_err();
        assert!(matches!(&refused, Error::AsyncUnsupported { operation } if operation == "count"));
        let options = CallOptions::default().timeout(Duration::from_secs(60));
        let with = host.with(&options);
        let refused = block_on(with.call_into_async("count", vec![7], &mut response));
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::AsyncUnsupported);
    }
    let mut held = block_on(host.check_out_async()).unwrap();
    block_on(held.call_async("count", String::new())).unwrap_err();
    drop(held);
    assert_eq!(host.call("count", b"").unwrap(), b"2");
    let stats = host.stats();
    assert_eq!((stats.live, stats.idle, stats.errors.total()), (1, 1, 5));
}

#[test]
fn a_call_ends_as_a_blocking_one_does() {
    let host = host();
    let call = |operation: &str, payload: &[u8]| {
        block_on(host.call_async(operation, payload)).map_err(|error| error.to_string())
    };
    assert_eq!(call("echo", b"x").unwrap(), b"x");
    assert_eq!(call("ask", b"x").unwrap(), b"bind/ns/op:x");
    assert_eq!(
        call("ask", b"fail").unwrap_err(),
        "the guest's operation `ask` failed: the host said no"
    );
    assert_eq!(call("count", b"").unwrap(), b"4");
    assert_eq!(
        call("trap", b"").unwrap_err(),
        "the guest trapped in operation `trap`"
    );
    assert_eq!(call("count", b"").unwrap(), b"1");
    let panic = catch_unwind(AssertUnwindSafe(|| call("ask", b"panic"))).unwrap_err();
    assert_eq!(panic.downcast_ref(), Some(&"the callback panicked"));
    assert_eq!(call("count", b"").unwrap(), b"1");
}

#[test]
fn a_blocking_call_of_a_guest_whose_host_awaits_is_refused_at_its_host_call() {
    let host = host();
    assert_eq!(host.call("echo", b"x").unwrap(), b"x");
    let refused = host.call("ask", b"x").unwrap_err();
    assert!(matches!(
        refused,
        Error::Protocol {
            source: ProtocolError::CallbackAwaits { .. },
            ..
        }
    ));
}

#[test]
fn a_callback_that_never_answers_ends_with_the_call() {
    let never = |_: OwnedHostCall| pending();
    let host = block_on(WapcHost::builder(Box::new(suspendable())).build_async(never)).unwrap();
    let options = CallOptions::default().timeout(Duration::from_millis(10));
    let ended = block_on(host.with(&options).call_async("ask", b""));
    assert!(matches!(ended, Err(Error::TimedOut { .. })));

    let handle = CancelHandle::new();
    let options = CallOptions::default().cancel(&handle);
    thread::scope(|scope| {
        let call = scope.spawn(|| block_on(host.with(&options).call_async("ask", b"")));
        while host.stats().idle > 0 {
            thread::yield_now();
        }
        handle.cancel();
        assert!(matches!(call.join().unwrap(), Err(Error::Cancelled { .. })));
    });
    assert_eq!(block_on(host.call_async("count", b"")).unwrap(), b"1");
}

#[test]
fn dropping_a_call_gives_its_place_to_the_next_and_drops_the_answer() {
    static DROPPED: AtomicBool = AtomicBool::new(false);
    struct OnDrop;
    impl Drop for OnDrop {
        fn drop(&mut self) {
            DROPPED.store(true, Ordering::SeqCst);
        }
    }
    let never = move |_: OwnedHostCall| {
        let guard = OnDrop;
        async move {
            let _guard = guard;
            pending().await
        }
    };
    let host = block_on(WapcHost::builder(Box::new(suspendable())).build_async(never)).unwrap();
    {
        let mut call = pin!(host.call_async("ask", b""));
        let mut context = Context::from_waker(Waker::noop());
        assert!(call.as_mut().poll(&mut context).is_pending());
        assert!(!DROPPED.load(Ordering::SeqCst));
    }
    assert!(DROPPED.load(Ordering::SeqCst));
    assert_eq!(block_on(host.call_async("count", b"")).unwrap(), b"1");
}

#[test]
fn many_calls_wait_their_turn_on_one_thread() {
    let host = block_on(
        WapcHost::builder(Box::new(suspendable()))
            .max_instances(2)
            .build_async(slow_answer),
    )
    .unwrap();
    let calls = if cfg!(miri) { 4 } else { 50 };
    let mut waiting: Vec<_> = (0..calls)
        .map(|_| Box::pin(host.call_async("ask", b"x")))
        .collect();
    block_on(poll_fn(|context| {
        waiting.retain_mut(|call| match call.as_mut().poll(context) {
            Poll::Pending => true,
            Poll::Ready(answer) => {
                assert_eq!(answer.unwrap(), b"bind/ns/op:x");
                false
            }
        });
        match waiting.is_empty() {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }));
    let stats = host.stats();
    assert_eq!(
        (stats.calls, stats.idle, stats.waiting),
        (calls, stats.live, 0)
    );
}

/// Compiles if async calls may move between threads, and what they hold.
const _: fn(HostBuilder, &WapcHost, &CallOptions, CheckedOutAsync<'_>) =
    |builder, host, options, mut held| {
        const fn sent<T: Send>(_: &T) {}
        sent(&builder.build_async(slow_answer));
        sent(&host.call_async("", b""));
        sent(&host.with(options).call_async("", b""));
        let mut buffer = vec![];
        sent(&host.call_into_async("", b"", &mut buffer));
        sent(&host.with(options).call_into_async("", b"", &mut buffer));
        sent(&held.call_into_async("", b"", &mut buffer));
        sent(&host.check_out_async());
        sent(&host.with(options).check_out_async());
        sent(&held.call_async("", vec![]));
        sent(&held);
    };
