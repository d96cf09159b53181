//! Small modules that cost a compiler much: families of them, each at several sizes. The limits are
//! calibrated by these.

use std::{
    env, fs,
    process::{Command, Stdio},
    time::Duration,
};

use provider_wasmi::WasmiEngineProvider;
use provider_wasmtime::WasmtimeEngineProvider;
use wapc_host::{BoxError, ModuleLimits};

/// A module in the text format of a size.
type Family = fn(size: usize) -> String;

/// Names and generators.
const FAMILIES: &[(&str, Family)] = &[
    ("ifs of 1000 parameters", |n| {
        let types = "i64 ".repeat(1000);
        let pushes = "i64.const 1 ".repeat(1000);
        let ifs = "local.get 0 if (type 1) end ".repeat(n);
        let drops = "drop ".repeat(1000);
        module(
            &format!("(type (func (param i32))) (type (func (param {types}) (result {types})))"),
            &format!("(param i32) {pushes} {ifs} {drops}"),
        )
    }),
    ("ifs of 16 parameters", |n| {
        let types = "i64 ".repeat(16);
        let pushes = "i64.const 1 ".repeat(16);
        let ifs = "local.get 0 if (type 1) end ".repeat(n);
        let drops = "drop ".repeat(16);
        module(
            &format!("(type (func (param i32))) (type (func (param {types}) (result {types})))"),
            &format!("(param i32) {pushes} {ifs} {drops}"),
        )
    }),
    ("blocks in sequence", |n| {
        module(
            "",
            &format!(
                "(param i32) {}",
                "block local.get 0 br_if 0 nop end ".repeat(n)
            ),
        )
    }),
    ("ifs that set a local", |n| {
        module(
            "",
            &format!(
                "(param i32) (local i32) {}",
                "local.get 0 if local.get 1 local.set 0 end ".repeat(n)
            ),
        )
    }),
    ("ifs that set one of 50 locals", |n| {
        let ifs: String = (0..n)
            .map(|i| {
                format!(
                    "local.get 0 if local.get {} local.set {} end ",
                    1 + i % 50,
                    1 + (i * 7) % 50
                )
            })
            .collect();
        module(
            "",
            &format!("(param i32) (local {}) {ifs}", "i32 ".repeat(50)),
        )
    }),
    ("ifs that set one of 1000 locals", |n| {
        let ifs: String = (0..n)
            .map(|i| {
                format!(
                    "local.get 0 if local.get {} local.set {} end ",
                    1 + i % 1000,
                    1 + (i * 7) % 1000
                )
            })
            .collect();
        module(
            "",
            &format!("(param i32) (local {}) {ifs}", "i32 ".repeat(1000)),
        )
    }),
    ("loops in sequence", |n| {
        module(
            "",
            &format!(
                "(param i32) (local i32 i32) {}",
                "loop local.get 1 i32.const 1 i32.add local.tee 1 br_if 0 end ".repeat(n)
            ),
        )
    }),
    ("straight arithmetic", |n| {
        module(
            "",
            &format!(
                "(param i32) {}",
                "local.get 0 i32.const 3 i32.mul local.set 0 ".repeat(n)
            ),
        )
    }),
    ("loads in sequence", |n| {
        module(
            "",
            &format!(
                "(param i32) {}",
                "local.get 0 i32.load local.set 0 ".repeat(n)
            ),
        )
    }),
    ("values on the stack", |n| {
        module(
            "",
            &format!(
                "(param i32) {} {} drop",
                "local.get 0 i32.load ".repeat(n + 1),
                "i32.xor ".repeat(n)
            ),
        )
    }),
    ("calls of 1000 arguments and results", |n| {
        let types = "i64 ".repeat(1000);
        let body = "i64.const 1 ".repeat(1000) + &"call $f ".repeat(n) + &"drop ".repeat(1000);
        module(
            &format!("(func $f (param {types}) (result {types}) unreachable)"),
            &body,
        )
    }),
    ("calls between 200 live locals", |n| {
        let locals: String = (1..201)
            .map(|i| format!("local.get 0 i32.load offset={i} local.set {i} "))
            .collect();
        let uses: String = (1..201)
            .map(|i| format!("local.get {i} local.get 0 i32.xor local.set 0 "))
            .collect();
        module(
            "(func $f)",
            &format!(
                "(param i32) (local {}) {locals} {} {uses}",
                "i32 ".repeat(200),
                "call $f ".repeat(n)
            ),
        )
    }),
    ("branch tables", |n| {
        let targets = "0 ".repeat(1000);
        module(
            "",
            &format!(
                "(param i32) {}",
                format!("block local.get 0 br_table {targets} end ").repeat(n)
            ),
        )
    }),
    ("branch tables to 100 blocks", |n| {
        let blocks = "block ".repeat(100);
        let targets: String = (0..100).map(|i| format!("{i} ")).collect();
        let ends = "end ".repeat(100);
        module(
            "",
            &format!(
                "(param i32) {}",
                format!("{blocks} local.get 0 br_table {targets} {ends} ").repeat(n)
            ),
        )
    }),
    ("nested blocks with branches out", |n| {
        let outs: String = (0..n).map(|i| format!("local.get 0 br_if {i} ")).collect();
        module(
            "",
            &format!(
                "(param i32) {} {outs} {}",
                "block ".repeat(n),
                "end ".repeat(n)
            ),
        )
    }),
    ("nested ifs with a result", |n| {
        module(
            "",
            &format!(
                "(param i32) {} local.get 0 {} drop",
                "local.get 0 if (result i32) ".repeat(n),
                "else local.get 0 end ".repeat(n)
            ),
        )
    }),
    ("selects", |n| {
        module(
            "",
            &format!(
                "(param i32) {}",
                "local.get 0 i32.const 7 local.get 0 select local.set 0 ".repeat(n)
            ),
        )
    }),
    ("divisions", |n| {
        module(
            "",
            &format!(
                "(param i32) {}",
                "local.get 0 i32.const 7 local.get 0 i32.div_s local.set 0 drop ".repeat(n)
            ),
        )
    }),
    ("vector shuffles", |n| {
        let shuffle = "local.get 0 local.get 0 i8x16.shuffle 0 31 1 30 2 29 3 28 4 27 5 26 6 25 7 24 local.set 0 ";
        module("", &format!("(param v128) {}", shuffle.repeat(n)))
    }),
    ("functions that return", |n| module(&"(func)".repeat(n), "")),
    ("functions of 1000 parameters", |n| {
        let parameters = "i32 ".repeat(1000);
        let functions = "(func (type 0))".repeat(n);
        module(
            &format!("(type (func (param {parameters}))) {functions}"),
            "",
        )
    }),
    ("signatures of functions in a table", |n| {
        let functions: String = (0..n)
            .map(|i| {
                let types: String = (0..16)
                    .map(|bit| if i >> bit & 1 == 0 { "i32 " } else { "i64 " })
                    .collect();
                format!("(func (param {types}))")
            })
            .collect();
        let all: String = (0..n).map(|i| format!("{i} ")).collect();
        module(&format!("{functions} (table funcref (elem {all}))"), "")
    }),
    ("data segments", |n| {
        module(&"(data (i32.const 0) \"x\")".repeat(n), "")
    }),
    ("globals", |n| {
        module(&"(global (mut i64) (i64.const 0))".repeat(n), "")
    }),
    ("exports of a long name", |n| {
        let exports: String = (0..n)
            .map(|i| format!("(export \"{}{i}\" (func 0))", "x".repeat(1000)))
            .collect();
        module(&format!("(func) {exports}"), "")
    }),
];

fn module(fields: &str, body: &str) -> String {
    format!(
        "(module {fields} (func {body}) (memory (export \"memory\") 1) \
         (func (export \"__guest_call\") (param i32 i32) (result i32) (i32.const 0)))"
    )
}

/// The cost of a module.
#[derive(Clone, Copy, Debug, Default)]
struct Cost {
    cpu: Duration,
    mebibytes: u64,
    /// It was compiled, and not refused.
    accepted: bool,
}

const ENGINES: &[&str] = &["wasmtime", "wasmi"];

/// The processor time and memory that one compile may take in this search.
const MAX_CPU_SECONDS: u32 = 20;
const MAX_KIBIBYTES: u32 = 8 << 20;

/// Prints the costs of all families. `limited` measures what the default limits accept, else sizes are
/// doubled until a module costs too much.
///
/// # Errors
///
/// A module cannot be generated, or the measuring process cannot be started.
pub fn search(limited: bool) -> Result<(), BoxError> {
    println!(
        "{:<40} {:>8} {:>9} {:<9} {:>8} {:>7}",
        "family", "size", "bytes", "engine", "cpu ms", "MiB"
    );
    for (name, family) in FAMILIES {
        for engine in ENGINES {
            let mut worst = None;
            for exponent in 4..=20 {
                let size = 1_usize << exponent;
                let binary = wat::parse_str(family(size))?;
                if binary.len() > 16 << 20 {
                    break;
                }
                let refused = ModuleLimits::default().check(&binary).is_err();
                if limited && refused {
                    break;
                }
                let cost = measure(engine, &binary)?;
                if cost.accepted {
                    worst = Some((size, binary.len(), cost, refused));
                }
                if cost.cpu > Duration::from_secs(4) || cost.mebibytes > 2000 || !cost.accepted {
                    break;
                }
            }
            if let Some((size, bytes, cost, refused)) = worst {
                println!(
                    "{name:<40} {size:>8} {bytes:>9} {engine:<9} {:>8} {:>7}{}",
                    cost.cpu.as_millis(),
                    cost.mebibytes,
                    if refused {
                        " (refused by the limits)"
                    } else {
                        ""
                    }
                );
            }
        }
    }
    Ok(())
}

/// Compiles in a process of its own, with bounds that only the system can keep.
fn measure(engine: &str, binary: &[u8]) -> Result<Cost, BoxError> {
    let path = env::temp_dir().join(format!("bomb-{}.wasm", std::process::id()));
    fs::write(&path, binary)?;
    let output = Command::new("sh")
        .arg("-c")
        .arg(format!(
            "ulimit -t {MAX_CPU_SECONDS} -v {MAX_KIBIBYTES}; exec \"$0\" bombs --executions 0 --compile {engine} --out \"$1\""
        ))
        .arg(env::current_exe()?)
        .arg(&path)
        .stderr(Stdio::null())
        .output()?;
    fs::remove_file(&path)?;
    let text = String::from_utf8_lossy(&output.stdout);
    let numbers: Vec<u64> = text
        .split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect();
    Ok(match numbers[..] {
        [cpu, kibibytes, accepted] => Cost {
            cpu: Duration::from_millis(cpu),
            mebibytes: kibibytes >> 10,
            accepted: accepted == 1,
        },
        // It was ended by the system.
        _ => Cost {
            cpu: Duration::from_secs(MAX_CPU_SECONDS.into()),
            mebibytes: u64::from(MAX_KIBIBYTES >> 10),
            accepted: true,
        },
    })
}

/// Compiles the module in `path`, and prints the costs of this process.
///
/// # Errors
///
/// The file or the system's figures cannot be read.
pub fn compile(engine: &str, path: &std::path::Path) -> Result<(), BoxError> {
    let binary = fs::read(path)?;
    let before = memory()?;
    let compiled = match engine {
        "wasmi" => WasmiEngineProvider::builder()
            .module_limits(ModuleLimits::unlimited())
            .build(&binary)
            .map(drop),
        _ => WasmtimeEngineProvider::builder()
            .module_limits(ModuleLimits::unlimited())
            .build(&binary)
            .map(drop),
    };
    let memory = memory()?.saturating_sub(before);
    println!(
        "{} {memory} {}",
        cpu()?.as_millis(),
        u8::from(compiled.is_ok())
    );
    if let Err(error) = compiled {
        eprintln!("{}", error.report());
    }
    Ok(())
}

/// The processor time of this process.
fn cpu() -> Result<Duration, BoxError> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks: u64 = after_name
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|number| number.parse::<u64>().ok())
        .sum();
    // 100 a second on Linux.
    Ok(Duration::from_millis(ticks * 10))
}

/// The greatest memory of this process up to now, in KiB.
fn memory() -> Result<u64, BoxError> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    Ok(number.ok_or("no figure of memory")?.parse()?)
}
