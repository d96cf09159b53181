//! Limits on amounts: bytes, elements, calls.

use std::{
    fs,
    ptr::from_ref,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use conformance::{
    Capability::{AnyModule, Time},
    Engine, engines,
};
use log::{LevelFilter, Log, Metadata, Record};
use tempfile::TempDir;
use wapc_host::{
    Error, Interruption, Limits, WapcHost, WasiSettings, WebAssemblyEngineProvider, wasi::DirAccess,
};

use crate::{
    Verdict,
    guests::{MEMORY, guest, number, of_the_gallery},
};

/// A limit, and a measurement of the most that a guest gets under it.
struct Amount {
    limit: &'static str,
    unit: &'static str,
    allowed: u64,
    most: fn(&Engine) -> u64,
}

pub(crate) fn measure(verdict: &mut Verdict) {
    LOGGED.install();
    println!("| limit | allowed | engine | the most that a guest got | past |");
    println!("|---|--:|---|--:|--:|");
    for amount in AMOUNTS {
        let Amount {
            limit,
            unit,
            allowed,
            most,
        } = amount;
        for engine in engines(&[AnyModule, Time]) {
            let most = most(engine);
            let past = most.saturating_sub(*allowed);
            println!(
                "| {limit} | {allowed} {unit} | {} | {most} | {past} |",
                engine.name
            );
            verdict.expect(past == 0, || {
                format!("{limit} on {}: {past} {unit} past", engine.name)
            });
            // The guest must have been stopped by the limit.
            verdict.expect(most >= allowed - allowed / 10, || {
                format!("{limit} on {}: {most} {unit} only", engine.name)
            });
        }
    }
}

const PAGE: u64 = 1 << 16;

const AMOUNTS: &[Amount] = &[
    Amount {
        limit: "`max_memory_bytes`, growing",
        unit: "B",
        allowed: 100 * PAGE,
        most: |engine| {
            let limits = Limits::default().max_memory_bytes(100 << 16);
            let code =
                "(loop $more (br_if $more (i32.ne (memory.grow (i32.const 1)) (i32.const -1))))
                (call $say (memory.size))";
            said(engine, limits, &guest(MEMORY, code)) * PAGE
        },
    },
    Amount {
        limit: "`max_memory_bytes`, from the beginning",
        unit: "B",
        allowed: 100 * PAGE,
        most: |engine| {
            let limits = Limits::default().max_memory_bytes(100 << 16);
            let module = |pages| guest(&format!(r#"(memory (export "memory") {pages})"#), "");
            admitted(engine, &limits, 100, module) * PAGE
        },
    },
    Amount {
        limit: "`max_total_memory_bytes`, two growing",
        unit: "B",
        allowed: 100 * PAGE,
        most: |engine| {
            let limits = Limits::default().max_total_memory_bytes(100 << 16);
            let memories = r#"(memory (export "memory") 1) (memory $other 1)"#;
            let code = "(loop $more
                    (br_if $more (i32.or
                        (i32.ne (memory.grow (i32.const 1)) (i32.const -1))
                        (i32.ne (memory.grow $other (i32.const 1)) (i32.const -1)))))
                (call $say (i32.add (memory.size) (memory.size $other)))";
            said(engine, limits, &guest(memories, code)) * PAGE
        },
    },
    Amount {
        limit: "`max_memories`",
        unit: "memories",
        allowed: 5,
        most: |engine| {
            let limits = Limits::default().max_memories(5);
            let module = |count: usize| {
                let others = "(memory 1)".repeat(count - 1);
                guest(&format!("{MEMORY}{others}"), "")
            };
            admitted(engine, &limits, 5, module)
        },
    },
    Amount {
        limit: "`max_table_elements`, two growing",
        unit: "elements",
        allowed: 10_000,
        most: |engine| {
            let limits = Limits::default().max_table_elements(10_000);
            let tables = format!("{MEMORY} (table $one 1 funcref) (table $other 1 funcref)");
            let code = "(loop $more
                    (br_if $more (i32.or
                        (i32.ne (table.grow $one (ref.null func) (i32.const 1)) (i32.const -1))
                        (i32.ne (table.grow $other (ref.null func) (i32.const 1)) (i32.const -1)))))
                (call $say (i32.add (table.size $one) (table.size $other)))";
            said(engine, limits, &guest(&tables, code))
        },
    },
    Amount {
        limit: "`max_table_elements`, from the beginning",
        unit: "elements",
        allowed: 10_000,
        most: |engine| {
            let limits = Limits::default().max_table_elements(10_000);
            let module = |elements| guest(&format!("{MEMORY} (table {elements} funcref)"), "");
            admitted(engine, &limits, 10_000, module)
        },
    },
    Amount {
        limit: "`max_tables`",
        unit: "tables",
        allowed: 5,
        most: |engine| {
            let limits = Limits::default().max_tables(5);
            let module = |count| {
                let tables = "(table 1 funcref)".repeat(count);
                guest(&format!("{MEMORY}{tables}"), "")
            };
            admitted(engine, &limits, 5, module)
        },
    },
    Amount {
        limit: "`max_inbound_bytes`, a payload with its operation",
        unit: "B",
        allowed: 10_000,
        most: |engine| {
            let limits = Limits::default().max_inbound_bytes(10_000);
            let code = "(call $say (i32.add (local.get $op_len) (local.get $len)))";
            let host = host(engine, limits, &guest(MEMORY, code));
            around(10_000)
                .filter_map(|bytes| host.call("op", &vec![0; bytes - 2]).ok())
                .map(|response| number(&response))
                .fold(0, u64::max)
        },
    },
    Amount {
        limit: "`max_inbound_bytes`, the host's answer",
        unit: "B",
        allowed: 10_000,
        most: |engine| {
            let bytes = Arc::new(AtomicUsize::new(0));
            let answered = Arc::clone(&bytes);
            let module = guest(MEMORY, "(call $ask) (call $say (call $answer_length))");
            let host = WapcHost::builder(provider(engine, &module))
                .limits(Limits::default().max_inbound_bytes(10_000))
                .build(move |_, _, _, _, _| Ok(vec![0; answered.load(Ordering::Relaxed)]))
                .expect("a host");
            around(10_000)
                .map(|size| {
                    bytes.store(size, Ordering::Relaxed);
                    number(&host.call("op", b"").expect("the guest answers"))
                })
                .fold(0, u64::max)
        },
    },
    Amount {
        limit: "`max_outbound_bytes`, a response",
        unit: "B",
        allowed: 10_000,
        most: |engine| {
            let code = "(call $respond (i32.const 0) (local.get $len))";
            sent(engine, code, |result| Some(result.ok()?.len()))
        },
    },
    Amount {
        limit: "`max_outbound_bytes`, an error",
        unit: "B",
        allowed: 10_000,
        most: |engine| {
            let code = "(call $fail (i32.const 0) (local.get $len)) (return (i32.const 0))";
            sent(engine, code, |result| match result {
                Err(Error::Guest { message, .. }) => Some(message.len()),
                _ => None,
            })
        },
    },
    Amount {
        limit: "`max_outbound_bytes`, a host call's payload",
        unit: "B",
        allowed: 10_000,
        most: |engine| {
            let most = Arc::new(AtomicUsize::new(0));
            let seen = Arc::clone(&most);
            let module = guest(MEMORY, "(drop (call $ask_with (local.get $len)))");
            let host = WapcHost::builder(provider(engine, &module))
                .limits(Limits::default().max_outbound_bytes(10_000))
                .build(move |_, _, _, _, payload| {
                    seen.fetch_max(payload.len(), Ordering::Relaxed);
                    Ok(vec![])
                })
                .expect("a host");
            for bytes in around(10_000) {
                // It sets no response, which is an error in any case.
                host.call("op", &vec![0; bytes]).expect_err("no response");
            }
            most.load(Ordering::Relaxed) as u64
        },
    },
    Amount {
        limit: "`max_host_calls`, in a call",
        unit: "calls",
        allowed: 1_000,
        most: |engine| host_calls(engine, &of_the_gallery("host_call_flood")),
    },
    Amount {
        limit: "`max_host_calls`, in start functions",
        unit: "calls",
        allowed: 1_000,
        most: |engine| host_calls(engine, &of_the_gallery("host_call_flood_in_start")),
    },
    Amount {
        limit: "`max_log_bytes`",
        unit: "B",
        allowed: 10_000,
        most: |engine| {
            // Lines of 100 bytes with their end, of letters that are printed as they are.
            let code = "(memory.fill (i32.const 0) (i32.const 97) (i32.const 99))
                (loop $more (call $log (i32.const 0) (i32.const 99)) (br $more))";
            let limits = Limits::default().max_log_bytes(10_000);
            let host = host(engine, limits, &guest(MEMORY, code));
            LOGGED.0.store(0, Ordering::Relaxed);
            host.call("op", b"").expect_err("it logs too much");
            LOGGED.0.load(Ordering::Relaxed)
        },
    },
    Amount {
        limit: "`max_open_files`",
        unit: "files",
        allowed: 10,
        most: |engine| {
            let dir = TempDir::new().expect("a temporary directory");
            fs::write(dir.path().join("f"), "").expect("a file in it");
            let declarations = format!(r#"{MEMORY} (data (i32.const 8) "f")"#);
            let code = "(loop $more
                    (if (i32.eqz (call $path_open (i32.const 3) (i32.const 0)
                            (i32.const 8) (i32.const 1) (i32.const 0)
                            (i64.const 2) (i64.const 0) (i32.const 0) (i32.const 16)))
                        (then
                            (local.set $count (i32.add (local.get $count) (i32.const 1)))
                            (br $more))))
                (call $say (local.get $count))";
            let wasi = WasiSettings::new().dir(dir.path(), "/", DirAccess::ReadOnly);
            let provider = engine
                .provider(&guest(&declarations, code), wasi)
                .expect("a guest");
            let host = WapcHost::builder(provider)
                .limits(Limits::default().max_open_files(10))
                .build(|_, _, _, _, _| Ok(vec![]))
                .expect("a host");
            number(&host.call("op", b"").expect("an answer"))
        },
    },
    Amount {
        limit: "`HostBuilder::max_instances`, each calling the next",
        unit: "instances",
        allowed: 5,
        most: |engine| {
            let begun = Arc::new(AtomicU64::new(0));
            let counted = Arc::clone(&begun);
            let own = Arc::new(OnceLock::<WapcHost>::new());
            let again = Arc::downgrade(&own);
            let module = guest(MEMORY, "(call $ask) (call $say (i32.const 0))");
            let host = WapcHost::builder(provider(engine, &module))
                .max_instances(5)
                // The next one waits in vain for an instance.
                .wait_limit(Duration::ZERO)
                .build(move |_, _, _, _, _| {
                    counted.fetch_add(1, Ordering::Relaxed);
                    let own = again.upgrade().ok_or("the host is gone")?;
                    Ok(own.get().ok_or("no host yet")?.call("op", b"")?)
                })
                .expect("a host");
            own.get_or_init(|| host)
                .call("op", b"")
                .expect("the guest answers whatever its host says");
            begun.load(Ordering::Relaxed)
        },
    },
    Amount {
        limit: "`Builder::stack_bytes`",
        unit: "B",
        allowed: 512 << 10,
        most: stack_bytes,
    },
];

/// The numbers of bytes around a limit.
fn around(limit: usize) -> impl Iterator<Item = usize> {
    limit - 2..=limit + 2
}

fn provider(engine: &Engine, module: &[u8]) -> Box<dyn WebAssemblyEngineProvider> {
    engine.interruptible(module, Interruption::Time)
}

fn host(engine: &Engine, limits: Limits, module: &[u8]) -> WapcHost {
    WapcHost::builder(provider(engine, module))
        .limits(limits)
        .build(|_, _, _, _, _| Ok(vec![]))
        .expect("a host")
}

/// Returns the number in the guest's response.
fn said(engine: &Engine, limits: Limits, module: &[u8]) -> u64 {
    let host = host(engine, limits, module);
    number(&host.call("op", b"").expect("an answer"))
}

/// Returns the largest number around `limit` whose module becomes an instance.
fn admitted(
    engine: &Engine,
    limits: &Limits,
    limit: usize,
    module: impl Fn(usize) -> Vec<u8>,
) -> u64 {
    around(limit)
        .filter(|size| {
            WapcHost::builder(provider(engine, &module(*size)))
                .limits(limits.clone())
                .build(|_, _, _, _, _| Ok(vec![]))
                .is_ok()
        })
        .max()
        .unwrap_or_default() as u64
}

/// Returns the most bytes around the limit that a guest can send. The guest sends as
/// many as its payload has.
fn sent(engine: &Engine, code: &str, arrived: fn(Result<Vec<u8>, Error>) -> Option<usize>) -> u64 {
    let limits = Limits::default().max_outbound_bytes(10_000);
    let host = host(engine, limits, &guest(MEMORY, code));
    around(10_000)
        .filter_map(|bytes| arrived(host.call("op", &vec![0; bytes])))
        .max()
        .unwrap_or_default() as u64
}

/// Returns the number of host calls in one call, or by start functions.
fn host_calls(engine: &Engine, module: &[u8]) -> u64 {
    let calls = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&calls);
    let host = WapcHost::builder(provider(engine, module))
        .limits(Limits::default().max_host_calls(1_000))
        .build(move |_, _, _, _, _| {
            counted.fetch_add(1, Ordering::Relaxed);
            Ok(vec![])
        });
    if let Ok(host) = host {
        host.call("bad", b"").expect_err("it calls too often");
    }
    calls.load(Ordering::Relaxed)
}

/// Returns the stack that a guest with endless recursion has used. Each of its calls
/// calls the host, whose callback reads the stack pointer of the thread. For an
/// interpreter, calls are counted with 64 bytes each, as its provider documents.
fn stack_bytes(engine: &Engine) -> u64 {
    let first = Arc::new(AtomicUsize::new(0));
    let deepest = Arc::new(AtomicUsize::new(0));
    let depth = Arc::new(AtomicU64::new(0));
    let seen = (Arc::clone(&first), Arc::clone(&deepest), Arc::clone(&depth));
    let declarations = format!(
        "{MEMORY} (func $deeper (result i32)
            (call $ask) (i32.add (call $deeper) (i32.const 1)))"
    );
    let host = WapcHost::builder(provider(
        engine,
        &guest(&declarations, "(drop (call $deeper))"),
    ))
    .limits(Limits::default().max_host_calls(u64::MAX))
    .build(move |_, _, _, _, _| {
        let (first, deepest, depth) = &seen;
        let on_the_stack = 0_u8;
        let here = from_ref(&on_the_stack).addr();
        if depth.fetch_add(1, Ordering::Relaxed) == 0 {
            first.store(here, Ordering::Relaxed);
        }
        deepest.store(here, Ordering::Relaxed);
        Ok(vec![])
    })
    .expect("a host");
    let result = host.call("op", b"");
    assert!(matches!(result, Err(Error::Trapped { .. })), "{result:?}");
    let calls = depth.load(Ordering::Relaxed);
    let native = first
        .load(Ordering::Relaxed)
        .abs_diff(deepest.load(Ordering::Relaxed)) as u64;
    match native > calls {
        true => native,
        // A guest of an interpreter uses no stack of the thread.
        false => calls * 64,
    }
}

/// Counts the bytes of guests' log lines, each with its end.
struct Logged(AtomicU64);

static LOGGED: Logged = Logged(AtomicU64::new(0));

impl Logged {
    fn install(&'static self) {
        log::set_logger(self).expect("there is no other logger");
        log::set_max_level(LevelFilter::Info);
    }
}

impl Log for Logged {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "wapc::guest"
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let line = record.args().to_string();
            // After the prefix that the host adds.
            let (_, line) = line.split_once("] ").expect("the host's mark");
            self.0.fetch_add(line.len() as u64 + 1, Ordering::Relaxed);
        }
    }

    fn flush(&self) {}
}
