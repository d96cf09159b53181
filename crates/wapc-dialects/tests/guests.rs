//! Guests of each dialect, adapted and called.
#![expect(
    clippy::unwrap_used,
    reason = "what a test's own functions unwrap fails the test"
)]

use provider_wasmi::WasmiEngineProvider;
use wapc_dialects::{
    AdaptError, AdaptedProvider, Adapting, Dialect, Memories, Options, Section, Settings, adapt,
    append_section,
};
use wapc_host::{Error, WapcHost, error::EngineError};

fn load(module: &[u8], options: Options) -> Result<AdaptedProvider, EngineError> {
    Adapting::new(
        |module: &[u8]| Ok(Box::new(WasmiEngineProvider::new(module)?)),
        options.validates(true),
    )
    .load(module)
}

/// A host that answers its guests with the operation and the payload.
fn host(module: &[u8], options: Options) -> WapcHost {
    let provider = load(module, options).unwrap();
    WapcHost::new(
        Box::new(provider),
        |_, _, namespace, operation, payload| match operation {
            "fail" => Err("on purpose".into()),
            _ => Ok([
                namespace.as_bytes(),
                b"/",
                operation.as_bytes(),
                b": ",
                payload,
            ]
            .concat()),
        },
    )
    .unwrap()
}

/// A WASI command with this `_start`, in which `$write (fd, at, bytes)` and `$exit` are known, and
/// which has read its standard input to 4096, `$length` bytes.
fn command(body: &str) -> Vec<u8> {
    let text = format!(
        r#"(module
            (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "fd_fdstat_get" (func $fdstat (param i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "fd_seek" (func $seek (param i32 i64 i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "args_sizes_get" (func $args_sizes (param i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "args_get" (func $args (param i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "environ_sizes_get" (func $environ_sizes (param i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "environ_get" (func $environ (param i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
            (memory (export "memory") 4)
            (global $length (mut i32) (i32.const 0))
            (data (i32.const 1024) "an error\n")
            (func $write (param $fd i32) (param $at i32) (param $bytes i32)
                (i32.store (i32.const 0) (local.get $at))
                (i32.store (i32.const 4) (local.get $bytes))
                (if (call $fd_write (local.get $fd) (i32.const 0) (i32.const 1) (i32.const 8))
                    (then (unreachable)))
                (if (i32.ne (i32.load (i32.const 8)) (local.get $bytes)) (then (unreachable))))
            (func (export "_start")
                (local $i i32)
                (block $end (loop $next
                    (i32.store (i32.const 0) (i32.add (i32.const 4096) (global.get $length)))
                    (i32.store (i32.const 4) (i32.const 7))
                    (if (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8))
                        (then (unreachable)))
                    (br_if $end (i32.eqz (i32.load (i32.const 8))))
                    (global.set $length (i32.add (global.get $length) (i32.load (i32.const 8))))
                    (br $next)))
                {body}))"#
    );
    wat::parse_str(text).unwrap()
}

const ECHO: &str = "(call $write (i32.const 1) (i32.const 4096) (global.get $length))";

#[test]
fn a_command_filters_its_payload_each_time_anew() {
    let host = host(&command(ECHO), Options::new());
    for payload in [&b""[..], b"a", b"hello, world", &[7; 100_000]] {
        assert_eq!(host.call("any", payload).unwrap(), payload);
    }
    // Each call has had an instance of its own.
    let counter = command(&format!(
        "(i32.store8 (i32.const 4096) (i32.add (i32.const 48) (global.get $length))) \
         (global.set $length (i32.const 1)) {ECHO}"
    ));
    host.replace_module(&counter).unwrap();
    for _ in 0..3 {
        assert_eq!(host.call("any", b"abc").unwrap(), b"3");
    }
}

#[test]
fn a_command_may_leave_in_the_middle() {
    let leaves = |code: i32| {
        command(&format!(
            "{ECHO} (call $write (i32.const 2) (i32.const 1024) (i32.const 9)) \
             (call $exit (i32.const {code})) (unreachable)"
        ))
    };
    assert_eq!(
        host(&leaves(0), Options::new()).call("any", b"x").unwrap(),
        b"x"
    );
    match host(&leaves(3), Options::new()).call("any", b"x") {
        Err(Error::Exited {
            code, guest_error, ..
        }) => assert_eq!((code, guest_error.as_deref()), (3, Some("an error\n"))),
        other => panic!("{other:?}"),
    }
    // Of a long text the end is kept.
    let long = command(
        "(memory.fill (i32.const 65536) (i32.const 97) (i32.const 10000)) \
         (call $write (i32.const 2) (i32.const 65536) (i32.const 10000)) \
         (call $write (i32.const 2) (i32.const 1024) (i32.const 9)) \
         (call $write (i32.const 2) (i32.const 1024) (i32.const 9)) \
         (call $exit (i32.const 1))",
    );
    match host(&long, Options::new()).call("any", b"x") {
        Err(Error::Exited { guest_error, .. }) => {
            let text = guest_error.unwrap();
            assert_eq!(text.len(), 4096);
            assert!(text.ends_with("aaan error\nan error\n"), "{text}");
        }
        other => panic!("{other:?}"),
    }
}

/// Writes the number of strings, and each with the zero byte at its end.
fn list(sizes: &str, get: &str) -> String {
    format!(
        "(if (call {sizes} (i32.const 16) (i32.const 20)) (then (unreachable))) \
         (if (call {get} (i32.const 64) (i32.const 2048)) (then (unreachable))) \
         (i32.store8 (i32.const 24) (i32.add (i32.const 48) (i32.load (i32.const 16)))) \
         (call $write (i32.const 1) (i32.const 24) (i32.const 1)) \
         (block $done (loop $each \
            (br_if $done (i32.eq (local.get $i) (i32.load (i32.const 16)))) \
            (call $write (i32.const 1) \
                (i32.load offset=64 (i32.shl (local.get $i) (i32.const 2))) (i32.const 4)) \
            (local.set $i (i32.add (local.get $i) (i32.const 1))) \
            (br $each)))"
    )
}

#[test]
fn arguments_and_environment_come_from_the_options_or_the_module() {
    let args = command(&list("$args_sizes", "$args"));
    let answer = |host: WapcHost| {
        let answer = host.call("op", b"").unwrap();
        String::from_utf8(answer).unwrap().replace('\0', ".")
    };
    let own = Options::new().args(["one", "two"]);
    assert_eq!(answer(host(&args, own.clone())), "2one.two.");
    let with_operation = own.operation_is_argument(true);
    assert_eq!(answer(host(&args, with_operation)), "3one.two.op..");
    let alone = Options::new().operation_is_argument(true);
    assert_eq!(answer(host(&args, alone)), "2commop..");
    // The host's WASI has none.
    assert_eq!(answer(host(&args, Options::new())), "0");

    let env = command(&list("$environ_sizes", "$environ"));
    let own = Options::new().env("A", "b").env("C", "d");
    assert_eq!(answer(host(&env, own.clone())), "2A=b.C=d.");
    assert_eq!(answer(host(&env, Options::new())), "0");

    let mut settings = Settings::default();
    settings.args = vec!["his".to_owned()];
    settings.env = vec![("X".to_owned(), "y".to_owned())];
    let suggests = |mut module: Vec<u8>, section| {
        append_section(&mut module, section, &settings);
        module
    };
    let args = suggests(args, Section::Buf);
    assert_eq!(answer(host(&args, Options::new())), "1his.");
    let env = suggests(env, Section::Wapc);
    assert_eq!(answer(host(&env, Options::new())), "1X=y.");
    assert_eq!(answer(host(&env, own)), "2A=b.C=d.");

    let zero = load(&args, Options::new().args(["a\0b"])).unwrap_err();
    assert!(format!("{zero:?}").contains("ZeroByte"), "{zero:?}");
}

#[test]
fn standard_streams_are_pipes_and_wild_pointers_an_errno() {
    // Seeking is refused by `spipe`; a write out of bounds by `fault`; nothing is written.
    let errnos = command(
        "(i32.store8 (i32.const 24) (call $seek (i32.const 1) (i64.const 0) (i32.const 0) (i32.const 32))) \
         (i32.store (i32.const 0) (i32.const -1)) (i32.store (i32.const 4) (i32.const 10)) \
         (i32.store8 (i32.const 25) (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))) \
         (i32.store8 (i32.const 26) (call $fd_write (i32.const 1) (i32.const 0) (i32.const -1) (i32.const 8))) \
         (i32.store8 (i32.const 27) (call $fd_read (i32.const 0) (i32.const -4) (i32.const 1) (i32.const 8))) \
         (i32.store8 (i32.const 28) (call $fdstat (i32.const 1) (i32.const -8))) \
         (i32.store8 (i32.const 29) (call $fdstat (i32.const 1) (i32.const 32))) \
         (i32.store8 (i32.const 30) (call $args (i32.const 16) (i32.const -1))) \
         (i32.store8 (i32.const 31) (i32.load8_u (i32.const 32))) \
         (call $write (i32.const 1) (i32.const 24) (i32.const 8))",
    );
    let host = host(&errnos, Options::new().args(["a"]));
    assert_eq!(
        host.call("any", b"").unwrap(),
        [70, 21, 21, 21, 21, 0, 21, 0]
    );
}

#[test]
fn a_command_that_traps_or_lacks_a_memory() {
    let traps = host(&command("(unreachable)"), Options::new());
    for _ in 0..2 {
        assert!(matches!(traps.call("any", b""), Err(Error::Trapped { .. })));
    }
    let lacks = adapt(br#"(module (func (export "_start")))"#, &Options::new());
    match lacks {
        Err(AdaptError::Unfit { dialect, reason }) => {
            assert_eq!(dialect, Dialect::WasiCommand);
            assert_eq!(reason, "it exports no memory as `memory`");
        }
        other => panic!("{other:?}"),
    }
}

/// A guest of 2019 or 2020 that passes its request on to the host.
fn old(parameters: usize) -> Vec<u8> {
    let (types, namespace) = match parameters {
        4 => ("i32 i32 i32 i32", ""),
        _ => ("i32 i32 i32 i32 i32 i32", "(i32.const 1024) (i32.const 2)"),
    };
    wat::parse_str(format!(
        r#"(module
            (import "wapc" "__host_call" (func $host_call (param {types}) (result i32)))
            (import "wapc" "__guest_request" (func $request (param i32 i32)))
            (import "wapc" "__guest_response" (func $respond (param i32 i32)))
            (import "wapc" "__host_response" (func $answer (param i32)))
            (import "wapc" "__host_response_len" (func $answer_len (result i32)))
            (memory (export "memory") 1)
            (data (i32.const 1024) "ns")
            (func (export "__guest_call") (param $op i32) (param $len i32) (result i32)
                (call $request (i32.const 0) (i32.const 256))
                (drop (call $host_call {namespace}
                    (i32.const 0) (local.get $op) (i32.const 256) (local.get $len)))
                (call $answer (i32.const 2048))
                (call $respond (i32.const 2048) (call $answer_len))
                (i32.const 1)))"#
    ))
    .unwrap()
}

#[test]
fn guests_of_earlier_protocols_call_their_host() {
    let first = host(&old(4), Options::new());
    assert_eq!(first.call("op", b"payload").unwrap(), b"/op: payload");
    let second = host(&old(6), Options::new());
    assert_eq!(second.call("op", b"payload").unwrap(), b"ns/op: payload");
}

/// A plugin that packs buffers into numbers. Its allocator only goes up, and keeps a count.
const PACKED: &str = r#"(module
    (import "env" "__ask" (func $ask (param i64) (result i64)))
    (import "env" "__fail" (func $fail (param i64) (result i64)))
    (memory (export "memory") 4)
    (global $top (mut i32) (i32.const 1024))
    (global $live (mut i32) (i32.const 0))
    (func $alloc (export "__alloc_buffer") (param $bytes i32) (result i32)
        (global.get $top)
        (global.set $top (i32.add (global.get $top) (local.get $bytes)))
        (global.set $live (i32.add (global.get $live) (i32.const 1))))
    (func $free (export "__free_buffer") (param i64)
        (global.set $live (i32.sub (global.get $live) (i32.const 1))))
    (func (export "__echo") (param i64) (result i64) (local.get 0))
    (func (export "__ask_host") (param i64) (result i64) (call $ask (local.get 0)))
    (func (export "__ask_in_vain") (param i64) (result i64) (call $fail (local.get 0)))
    (func (export "__live") (param i64) (result i64)
        (call $free (local.get 0))
        (i32.store8 (i32.const 0) (i32.add (i32.const 48) (global.get $live)))
        (global.set $live (i32.add (global.get $live) (i32.const 1)))
        (i64.const 1))
    (func (export "__wild") (param i64) (result i64) (i64.const -1)))"#;

#[test]
fn packed_buffers_go_both_ways_and_are_freed() {
    let host = host(PACKED.as_bytes(), Options::new());
    assert_eq!(host.call("echo", b"hello").unwrap(), b"hello");
    assert_eq!(host.call("echo", b"").unwrap(), b"");
    assert_eq!(host.call("ask_host", b"payload").unwrap(), b"/ask: payload");
    assert_eq!(host.call("live", b"").unwrap(), b"0");
    match host.call("nothing", b"") {
        Err(Error::Guest { message, .. }) => {
            assert_eq!(message, "the module has no operation nothing");
        }
        other => panic!("{other:?}"),
    }
    match host.call("ask_in_vain", b"") {
        Err(Error::Trapped { guest_error, .. }) => {
            assert_eq!(guest_error.as_deref(), Some("on purpose"));
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(host.call("wild", b""), Err(Error::Trapped { .. })));
    assert_eq!(host.call("echo", b"again").unwrap(), b"again");
}

/// A Typst plugin, whose functions put their arguments at 1024.
const TYPST: &str = r#"(module
    (import "typst_env" "wasm_minimal_protocol_write_args_to_buffer" (func $args (param i32)))
    (import "typst_env" "wasm_minimal_protocol_send_result_to_host" (func $send (param i32 i32)))
    (memory (export "memory") 1)
    (data (i32.const 0) "hello")
    (func (export "hello") (result i32)
        (call $send (i32.const 0) (i32.const 5)) (i32.const 0))
    (func (export "echo") (param $a i32) (result i32)
        (call $args (i32.const 1024))
        (call $send (i32.const 1024) (local.get $a)) (i32.const 0))
    (func (export "second") (param $a i32) (param $b i32) (result i32)
        (call $args (i32.const 1024))
        (call $send (i32.add (i32.const 1024) (local.get $a)) (local.get $b)) (i32.const 0))
    (func (export "fail") (param $a i32) (result i32)
        (call $send (i32.const 0) (i32.const 5)) (i32.const 1))
    (func (export "silent") (result i32) (i32.const 0))
    (func (export "wild") (result i32) (call $send (i32.const -1) (i32.const 5)) (i32.const 0)))"#;

#[test]
fn a_typst_plugin_gets_its_arguments() {
    let host = host(TYPST.as_bytes(), Options::new());
    assert_eq!(host.call("hello", b"").unwrap(), b"hello");
    assert_eq!(host.call("echo", b"whole").unwrap(), b"whole");
    let framed = [
        &3_u32.to_le_bytes()[..],
        b"one",
        &5_u32.to_le_bytes(),
        b"other",
    ]
    .concat();
    assert_eq!(host.call("second", &framed).unwrap(), b"other");
    for wrong in [&b""[..], b"\x09\0\0\0x", b"\0\0\0\0\0\0\0\0x"] {
        match host.call("second", wrong) {
            Err(Error::Trapped { guest_error, .. }) => {
                let text = guest_error.unwrap();
                assert!(text.starts_with("the payload must consist of"), "{text}");
            }
            other => panic!("{other:?}"),
        }
    }
    match host.call("fail", b"") {
        Err(Error::Guest { message, .. }) => assert_eq!(message, "hello"),
        other => panic!("{other:?}"),
    }
    assert!(matches!(
        host.call("silent", b""),
        Err(Error::Protocol { .. })
    ));
    assert!(matches!(host.call("wild", b""), Err(Error::Trapped { .. })));
}

#[test]
fn a_library_is_linked_with_a_memory_of_its_own_or_the_guests() {
    let guest = br#"(module
        (import "lib" "fill" (func $fill (param i32)))
        (import "wapc" "__guest_response" (func $respond (param i32 i32)))
        (memory (export "memory") 1)
        (func (export "__guest_call") (param i32 i32) (result i32)
            (call $fill (i32.const 8))
            (call $respond (i32.const 8) (i32.const 1))
            (i32.const 1)))"#;
    let library = |memory: &str| {
        format!(
            r#"(module {memory} (func (export "fill") (param i32)
                (i32.store8 (local.get 0) (i32.const 42))))"#
        )
        .into_bytes()
    };
    let own = Options::new().link("lib", library("(memory 1)"), Memories::Own);
    assert!(adapt(guest, &own).unwrap().is_transformed());
    assert!(!adapt(guest, &Options::new()).unwrap().is_transformed());
    assert_eq!(host(guest, own).call("any", b"").unwrap(), [0]);
    let shared = library(r#"(import "env" "memory" (memory 1))"#);
    let shared = Options::new().link("lib", shared, Memories::Shared);
    assert_eq!(host(guest, shared).call("any", b"").unwrap(), [42]);
}
