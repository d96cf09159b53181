//! Async calls of guests that wait, or work for long, in functions of WASI: others run meanwhile.

use std::{
    fs,
    sync::Arc,
    time::{Duration, Instant},
};

use conformance::{Capability::AnyModule, Engine, SHORT, chain};
use tokio::time::{interval, sleep, timeout};
use wapc_host::{
    CallOptions, CancelHandle, Error, OwnedHostCall, WapcHost, WasiSettings, wasi::DirAccess,
};

use super::{LONG, both, on_a_runtime, text};
use crate::Case;

pub(super) fn cases() -> Vec<Case> {
    [
        Case::new("wasi_sleeps_overlap", wasi_sleeps_overlap),
        Case::new("wasi_sleep_beside_a_timer", wasi_sleep_beside_a_timer),
        Case::new("wasi_sleep_ends_in_time", wasi_sleep_ends_in_time),
        Case::new("wasi_sleep_is_dropped", wasi_sleep_is_dropped),
        Case::new("wasi_sleep_in_a_start", wasi_sleep_in_a_start),
        Case::new("wasi_long_work_pauses", wasi_long_work_pauses),
        Case::new("wasi_waits_of_blocking_calls", wasi_waits_of_blocking_calls),
    ]
    .into_iter()
    .map(|case| case.needs(&[AnyModule]))
    .collect()
}

/// Hosts of the guest with a blocking and with an async callback.
fn hosts(engine: &Engine, wasi: &WasiSettings) -> [WapcHost; 2] {
    let builder = || {
        let guest = engine.provider(text("wasi_waits"), wasi.clone());
        WapcHost::builder(guest.expect("a guest")).max_instances(2)
    };
    let answer = |call: OwnedHostCall| async move { Ok(call.into_payload()) };
    let hosts = [
        builder().build(|_, _, _, _, _| Ok(vec![])),
        on_a_runtime(builder().build_async(answer)),
    ];
    hosts.map(|host| host.unwrap_or_else(|error| panic!("{}", chain(&error))))
}

fn milliseconds(time: Duration) -> [u8; 4] {
    u32::try_from(time.as_millis())
        .expect("short")
        .to_le_bytes()
}

fn wasi_sleeps_overlap(engine: &Engine) {
    const TIME: Duration = Duration::from_millis(400);

    for host in hosts(engine, &WasiSettings::new()) {
        let payload = milliseconds(TIME);
        let began = Instant::now();
        let (one, other) = on_a_runtime(both(
            host.call_async("sleep", &payload),
            host.call_async("sleep", &payload),
        ));
        let took = began.elapsed();
        assert!(one.is_ok() && other.is_ok(), "{one:?} {other:?}");
        assert!((TIME..2 * TIME).contains(&took), "{took:?}");
    }
}

fn wasi_sleep_beside_a_timer(engine: &Engine) {
    for host in hosts(engine, &WasiSettings::new()) {
        let payload = milliseconds(LONG);
        on_a_runtime(async {
            let asleep = host.call_async("sleep", &payload);
            let ended = timeout(SHORT, asleep).await;
            assert!(ended.is_err(), "{ended:?}");
            // The dropped call has left its instance's place.
            for _ in 0..2 {
                let answer = host.call_async("any", b"").await;
                assert_eq!(answer.expect("an answer"), [0; 4]);
            }
        });
    }
}

fn wasi_sleep_ends_in_time(engine: &Engine) {
    for host in hosts(engine, &WasiSettings::new()) {
        let payload = milliseconds(LONG);
        on_a_runtime(async {
            let options = CallOptions::default().timeout(SHORT);
            let ended = host.with(&options).call_async("sleep", &payload).await;
            assert!(matches!(ended, Err(Error::TimedOut { .. })), "{ended:?}");

            let cancel = CancelHandle::new();
            let options = CallOptions::default().cancel(&cancel);
            let with = host.with(&options);
            let (ended, ()) = both(with.call_async("sleep", &payload), async {
                sleep(SHORT).await;
                cancel.cancel();
            })
            .await;
            assert!(matches!(ended, Err(Error::Cancelled { .. })), "{ended:?}");
        });
    }
}

fn wasi_sleep_is_dropped(engine: &Engine) {
    for host in hosts(engine, &WasiSettings::new()) {
        let host = Arc::new(host);
        let payload = milliseconds(LONG);
        on_a_runtime(async {
            let asleep: Vec<_> = (0..2)
                .map(|_| {
                    let host = Arc::clone(&host);
                    tokio::spawn(async move { host.call_async("sleep", &payload).await.is_ok() })
                })
                .collect();
            sleep(SHORT).await;
            assert_eq!(host.stats().idle, 0);
            asleep.iter().for_each(|task| task.abort());
            let answer = host.call_async("any", b"").await;
            assert_eq!(answer.expect("an answer"), [0; 4]);
        });
    }
}

/// The first instance of an async host sleeps in its start function.
fn wasi_sleep_in_a_start(engine: &Engine) {
    let guest = br#"(module
        (import "wasi_snapshot_preview1" "poll_oneoff"
            (func $poll (param i32 i32 i32 i32) (result i32)))
        (import "wapc" "__guest_response" (func $respond (param i32 i32)))
        (memory (export "memory") 1)
        (func (export "wapc_init")
            (i32.store (i32.const 1040) (i32.const 1))
            (i64.store (i32.const 1048) (i64.const 300000000))
            (drop (call $poll (i32.const 1024) (i32.const 2048) (i32.const 1) (i32.const 2100))))
        (func (export "__guest_call") (param i32 i32) (result i32)
            (call $respond (i32.const 0) (i32.const 0))
            (i32.const 1)))"#;
    let provider = engine.provider(guest, WasiSettings::new());
    let builder = WapcHost::builder(provider.expect("a guest"));
    let answer = |call: OwnedHostCall| async move { Ok(call.into_payload()) };
    on_a_runtime(async {
        let mut beats = 0;
        let host = {
            let heart = async {
                let mut every = interval(Duration::from_millis(5));
                loop {
                    every.tick().await;
                    beats += 1;
                }
            };
            tokio::select! {
                host = builder.build_async(answer) => host,
                () = heart => unreachable!("it beats for ever"),
            }
        };
        let host = host.unwrap_or_else(|error| panic!("{}", chain(&error)));
        assert_eq!(host.call_async("any", b"").await.expect("an answer"), b"");
        assert!(beats > 10, "{beats} beats");
    });
}

fn wasi_long_work_pauses(engine: &Engine) {
    const FILES: usize = 2_000;

    let dir = tempfile::tempdir().expect("a directory");
    for number in 0..FILES {
        fs::write(dir.path().join(number.to_string()), "").expect("a file");
    }
    let wasi = WasiSettings::new().dir(dir.path(), "/", DirAccess::ReadOnly);
    for host in hosts(engine, &wasi) {
        on_a_runtime(async {
            let answer = host.call_async("readdir", b"").await.expect("an answer");
            let bytes = u32::from_le_bytes(answer.try_into().expect("a number"));
            assert!(bytes as usize > FILES * 25, "{bytes}");
            let options = CallOptions::default().timeout(4 * SHORT);
            let mut beats = 0;
            let heart = async {
                let mut every = interval(Duration::from_millis(5));
                loop {
                    every.tick().await;
                    beats += 1;
                }
            };
            let with = host.with(&options);
            let ended = tokio::select! {
                ended = with.call_async("random", b"") => ended,
                () = heart => unreachable!("it beats for ever"),
            };
            assert!(matches!(ended, Err(Error::TimedOut { .. })), "{ended:?}");
            assert!(beats > 5, "{beats} beats");
        });
    }
}

/// A host that has async callers serves blocking ones too.
fn wasi_waits_of_blocking_calls(engine: &Engine) {
    for host in hosts(engine, &WasiSettings::new()) {
        let short = milliseconds(Duration::from_millis(1));
        on_a_runtime(async {
            host.call_async("sleep", &short).await.expect("an answer");
        });
        assert_eq!(host.call("sleep", &short).expect("an answer"), [0; 4]);
        assert_eq!(host.call("read", b"").expect("an answer"), [0; 4]);
        let options = CallOptions::default().timeout(SHORT);
        for operation in ["sleep", "random"] {
            let ended = host.with(&options).call(operation, &milliseconds(LONG));
            assert!(matches!(ended, Err(Error::TimedOut { .. })), "{ended:?}");
        }
    }
}
