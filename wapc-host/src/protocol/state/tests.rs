//! The conversation's rules, one import at a time, without any guest.

use super::*;
use crate::{
    error::{ProtocolError, StopReason},
    limits::cancel::CancelHandle,
    protocol::scratch::MAX_KEPT_RESPONSE_BYTES,
};

const MEMORY: usize = 1000;

fn state() -> ModuleState {
    let answer = |_: u64, _: &str, _: &str, _: &str, payload: &[u8]| Ok(payload.to_vec());
    ModuleState::new(7, Arc::new(answer))
}

/// Every argument that is a pointer and a length, of each import that
/// reads.
type Reader = fn(&mut ModuleState, &[u8], i32, i32) -> Result<(), StopReason>;
const READERS: &[(&str, &str, Reader)] = &[
    ("__guest_response", "response", |state, memory, ptr, len| {
        match state.guest_response(memory, ptr, len) {
            // Nobody is calling here; the bounds come first.
            Err(StopReason::Protocol(ProtocolError::NoCall { .. })) => Ok(()),
            other => other,
        }
    }),
    ("__guest_error", "error", ModuleState::guest_error),
    ("__console_log", "line", |state, memory, ptr, len| {
        state.console_log(memory, ptr, len)
    }),
    ("__host_call", "binding", |state, memory, ptr, len| {
        state
            .host_call(memory, ptr, len, 0, 0, 0, 0, 0, 0)
            .map(|_| ())
    }),
    ("__host_call", "namespace", |state, memory, ptr, len| {
        state
            .host_call(memory, 0, 0, ptr, len, 0, 0, 0, 0)
            .map(|_| ())
    }),
    ("__host_call", "operation", |state, memory, ptr, len| {
        state
            .host_call(memory, 0, 0, 0, 0, ptr, len, 0, 0)
            .map(|_| ())
    }),
    ("__host_call", "payload", |state, memory, ptr, len| {
        state
            .host_call(memory, 0, 0, 0, 0, 0, 0, ptr, len)
            .map(|_| ())
    }),
];

#[test]
fn whatever_a_guest_names_is_in_its_memory_or_refused_by_name() {
    let memory = [b'a'; MEMORY];
    for (import, what, read) in READERS {
        for (ptr, len) in [(0, 0), (-1, 0), (0, 1000), (999, 1), (1000, 0)] {
            assert_eq!(
                read(&mut state(), &memory, ptr, len),
                Ok(()),
                "{import} {what}"
            );
        }
        for (ptr, len) in [
            (0, 1001),
            (999, 2),
            (1000, 1),
            (-1, 1),
            (-1, -1),
            (1, -1),
            (i32::MIN, i32::MIN),
        ] {
            assert_eq!(
                read(&mut state(), &memory, ptr, len),
                Err(StopReason::Protocol(ProtocolError::OutOfBounds {
                    import,
                    what,
                    pointer: ptr.cast_unsigned(),
                    length: len.cast_unsigned() as usize,
                    memory: MEMORY,
                }))
            );
        }
    }
}

#[test]
fn names_and_errors_must_be_text_and_payloads_and_lines_need_not() {
    let memory = *b"ok\xffno";
    for (import, what, read) in READERS {
        let expected = match *what {
            "response" | "line" | "payload" => Ok(()),
            _ => Err(StopReason::Protocol(ProtocolError::NotUtf8 {
                import,
                what,
                valid_up_to: 2,
            })),
        };
        assert_eq!(read(&mut state(), &memory, 0, 5), expected);
    }
}

#[test]
fn the_host_writes_within_memory_or_not_at_all() {
    let mut state = state();
    let mut memory = [0; MEMORY];
    assert_eq!(state.host_response_len(), Ok(0));
    assert_eq!(
        state.host_response(&mut memory, -1),
        Ok(()),
        "nothing to write"
    );
    memory[..4].copy_from_slice(b"1234");
    assert_eq!(state.host_call(&memory, 0, 0, 0, 0, 0, 0, 0, 4), Ok(1));
    assert_eq!(state.host_response_len(), Ok(4));
    assert_eq!(state.host_response(&mut memory, 996), Ok(()));
    assert_eq!(&memory[996..], b"1234");
    for ptr in [997, 1000, -1, i32::MIN] {
        let refused = state.host_response(&mut memory, ptr).unwrap_err();
        assert!(matches!(
            refused,
            StopReason::Protocol(ProtocolError::OutOfBounds { length: 4, .. })
        ));
    }
    assert_eq!(state.host_error_len(), Ok(0), "it did not fail");
}

#[test]
fn an_error_of_the_host_replaces_its_answer_and_the_other_way_round() {
    let fail_on_x = |_: u64, _: &str, _: &str, _: &str, payload: &[u8]| match payload {
        b"x" => Err("no".into()),
        payload => Ok(payload.to_vec()),
    };
    let mut state = ModuleState::new(7, Arc::new(fail_on_x));
    let memory = *b"xy";
    let lengths = |state: &ModuleState| (state.host_response_len(), state.host_error_len());
    assert_eq!(state.host_call(&memory, 0, 0, 0, 0, 0, 0, 1, 1), Ok(1));
    assert_eq!(lengths(&state), (Ok(1), Ok(0)));
    assert_eq!(state.host_call(&memory, 0, 0, 0, 0, 0, 0, 0, 1), Ok(0));
    assert_eq!(lengths(&state), (Ok(0), Ok(2)));
    assert_eq!(state.host_call(&memory, 0, 0, 0, 0, 0, 0, 1, 1), Ok(1));
    assert_eq!(lengths(&state), (Ok(1), Ok(0)));
}

#[test]
fn each_host_call_has_its_own_names() {
    let names = |_: u64, binding: &str, namespace: &str, operation: &str, _: &[u8]| {
        Ok(format!("{binding}.{namespace}.{operation}").into_bytes())
    };
    let mut state = ModuleState::new(7, Arc::new(names));
    let memory = *b"abc\xff";
    let mut written = [0; 5];
    for [bd, ns, op] in [[0, 1, 2], [0, 1, 2], [2, 1, 0], [0, 0, 0], [0, 1, 2]] {
        let called = state.host_call(&memory, bd, 1, ns, 1, op, 1, 0, 0);
        assert_eq!(called, Ok(1));
        assert_eq!(state.host_response(&mut written, 0), Ok(()));
        let letter = |at: i32| char::from(memory[at.cast_unsigned() as usize]);
        let expected = format!("{}.{}.{}", letter(bd), letter(ns), letter(op));
        assert_eq!(written, expected.as_bytes());
        for [bd, ns, op] in [[3, 1, 2], [0, 3, 2], [0, 1, 3]] {
            let refused = state.host_call(&memory, bd, 1, ns, 1, op, 1, 0, 0);
            let refused = refused.unwrap_err();
            assert!(matches!(
                refused,
                StopReason::Protocol(ProtocolError::NotUtf8 { .. })
            ));
        }
    }
}

#[test]
fn an_abort_reads_what_it_can() {
    let mut memory = vec![4, 0, 0, 0, b'n', 0, b'o', 0, 0xff, 0xff, 0xff, 0xff];
    let abort = |memory: &[u8], message, file| {
        let mut state = state();
        state.abort(memory, message, file, 3, -1).unwrap();
        state.take_guest_error().unwrap()
    };
    assert_eq!(abort(&memory, 4, 4), "no at no:3:4294967295");
    for wild in [0, 3, 12, -1, i32::MIN] {
        assert_eq!(
            abort(&memory, wild, wild),
            "abort at an unknown file:3:4294967295"
        );
    }
    memory[4..6].copy_from_slice(&0xd800_u16.to_le_bytes());
    assert_eq!(
        abort(&memory, 4, -1),
        "\u{fffd}o at an unknown file:3:4294967295"
    );

    let mut state = state();
    state.guest_error(b"first", 0, 5).unwrap();
    state.abort(&memory, 4, 4, 0, 0).unwrap();
    assert_eq!(state.take_guest_error().as_deref(), Some("first"));
}

#[test]
fn the_next_call_finds_nothing_of_the_one_before() {
    let answer = |_: u64, _: &str, _: &str, _: &str, payload: &[u8]| match payload {
        b"x" => Err("no".into()),
        payload => Ok(vec![0; payload.len() * MAX_KEPT_RESPONSE_BYTES]),
    };
    let limits = Limits::unlimited()
        .max_memory_bytes(10)
        .max_table_elements(10)
        .max_host_calls(1)
        .max_log_bytes(3);
    let callback = Callback::Blocking(Arc::new(answer));
    let mut state = ModuleState::for_generation(0, 7, 0, callback, Arc::new(limits), None, false);
    let memory = *b"xyz";
    let ask =
        |state: &mut ModuleState, ptr, len| state.host_call(&memory, 0, 0, 0, 0, 0, 0, ptr, len);
    // Each leaves a trace of its own; some of them would be refused a second time.
    type Call<'c> = &'c dyn Fn(&mut ModuleState);
    let calls: [(&str, Call<'_>); 7] = [
        ("error", &|state| state.guest_error(&memory, 0, 1).unwrap()),
        ("abort", &|state| state.abort(&memory, 0, 0, 1, 1).unwrap()),
        ("answer", &|state| assert_eq!(ask(state, 1, 2), Ok(1))),
        ("failure", &|state| assert_eq!(ask(state, 0, 1), Ok(0))),
        ("log", &|state| state.console_log(&memory, 0, 2).unwrap()),
        ("growth", &|state| {
            assert!(!state.grow_memory(0, 11, None) && !state.grow_table(0, 11, None));
        }),
        ("fuel", &|state| state.set_fuel_used(1)),
    ];
    for (what, call) in calls {
        for _ in 0..2 {
            call(&mut state);
            state.begin(None, None);
            assert_eq!(state.host_response_len(), Ok(0), "{what}");
            assert_eq!(state.host_error_len(), Ok(0), "{what}");
            assert_eq!(state.refused(), None, "{what}");
            assert_eq!(state.spent().fuel, None, "{what}");
            assert_eq!(state.take_guest_error(), None, "{what}");
            assert!(
                state.scratch.values().host_response.capacity() <= MAX_KEPT_RESPONSE_BYTES,
                "{what}"
            );
        }
    }
}

/// A guest may call host functions in a straight line, which not every engine interrupts.
#[test]
fn each_host_function_asks_first_whether_the_guest_may_go_on() {
    macro_rules! calls {
        (
            ($calls:ident)
            with_memory {
                $($import:ident => $method:ident($($number:ident),*) -> $result:ty;)*
            }
            without_memory { $($length:ident => $length_method:ident() -> $length_type:ty;)* }
        ) => {
            $($calls.push((stringify!($import), |state, memory| {
                $(let $number = 0;)*
                state.$method(memory, $($number),*).map(drop)
            }));)*
            $($calls.push((stringify!($length), |state, _| state.$length_method().map(drop)));)*
        };
    }
    macro_rules! env_calls {
        (
            ($calls:ident)
            $($import:literal => |$state:ident, $memory:ident $(, $number:ident: $type:ty)*|
                -> $result:ty { $call:expr };)*
        ) => {
            $($calls.push(($import, |$state, $memory| {
                _ = &$memory;
                $(let $number: $type = Default::default();)*
                $(_ = $number;)*
                $call.map(drop)
            }));)*
        };
    }
    type Call = fn(&mut ModuleState, &mut [u8]) -> Result<(), StopReason>;
    let mut calls: Vec<(&str, Call)> = vec![];
    for_each_import!(calls!(calls));
    for_each_env_import!(env_calls!(calls));
    calls.push(("start_host_call", |state, memory| {
        state.start_host_call(memory, [0; 8]).map(drop)
    }));
    calls.push(("a monitor", |state, _| state.monitor().run("any", || ())));

    let mut memory = [0; 64];
    let cancel = CancelHandle::new();
    cancel.cancel();
    let cancelled = CallOptions::default().cancel(&cancel);
    assert!(calls.len() > 19);
    for (name, call) in calls {
        let callback: Arc<dyn HostCallback> =
            Arc::new(|_: u64, _: &str, _: &str, _: &str, _: &[u8]| panic!("it was called"));
        let mut state = ModuleState::new(1, callback);
        state.begin(Some(&cancelled), None);
        assert_eq!(
            call(&mut state, &mut memory),
            Err(StopReason::Cancelled),
            "{name}"
        );
    }
}

#[test]
fn an_error_of_the_host_is_bounded_like_an_answer() {
    for (length, limit, expected) in [
        (100, 100, "e".repeat(100)),
        (
            101,
            100,
            "the host's error of 101 bytes is above the limit of 100 bytes".to_owned(),
        ),
    ] {
        let answer = move |_: u64, _: &str, _: &str, _: &str, _: &[u8]| {
            Err::<Vec<u8>, _>("e".repeat(length).into())
        };
        let limits = Limits::unlimited().max_inbound_bytes(limit);
        let callback = Callback::Blocking(Arc::new(answer));
        let mut state =
            ModuleState::for_generation(0, 7, 0, callback, Arc::new(limits), None, false);
        assert_eq!(state.host_call(&[], 0, 0, 0, 0, 0, 0, 0, 0), Ok(0));
        let mut memory = [0; 200];
        state.host_error(&mut memory, 0).unwrap();
        let told = usize::try_from(state.host_error_len().unwrap()).unwrap();
        assert_eq!(&memory[..told], expected.as_bytes());
    }
}

#[test]
fn a_seed_is_a_number_and_another_one_each_time() {
    let state = ModuleState::new(
        1,
        Arc::new(|_: u64, _: &str, _: &str, _: &str, _: &[u8]| Ok(vec![])),
    );
    let seeds = [state.seed().unwrap(), state.seed().unwrap()];
    assert!(seeds[0] != seeds[1] && seeds.iter().all(|seed| (1.0..2.0).contains(seed)));
}
