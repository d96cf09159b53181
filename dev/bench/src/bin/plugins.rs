//! Extism plugins, by our host and by the crate `extism`, in one run:
//! `plugins GO_WASM EXTISM_WASM [ROW]`, with the folders `wasm` of Extism's Go SDK and of its repository.
//!
//! All subjects take turns in each round. A figure is the least of all rounds: calls of less than 50 µs are timed a
//! hundred at a time.

use std::{
    env,
    error::Error,
    fs,
    hint::black_box,
    path::PathBuf,
    process::Command,
    sync::{
        Barrier,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

type Result<T, E = Box<dyn Error + Send + Sync>> = std::result::Result<T, E>;
type Call = Box<dyn FnMut(&str, &[u8]) -> Result<usize> + Send>;
/// Makes plugins of one that is compiled.
type Compiled = Box<dyn Fn() -> Result<Call>>;

const SUBJECTS: [&str; 4] = ["extism", "wapc-wasmtime", "wapc-kill", "wapc-wasmi"];
const ROUNDS: usize = 5;
const SLICE: Duration = Duration::from_millis(300);

struct Row {
    name: &'static str,
    /// The folder, and the file in it.
    file: (usize, &'static str),
    export: &'static str,
    bytes: usize,
}

const fn row(
    name: &'static str,
    folder: usize,
    file: &'static str,
    export: &'static str,
    bytes: usize,
) -> Row {
    Row {
        name,
        file: (folder, file),
        export,
        bytes,
    }
}

const ROWS: &[Row] = &[
    row("no-op", 0, "noop", "run_test", 0),
    row("echo 64 B", 1, "echo", "echo", 64),
    row("echo 10 MB", 1, "echo", "echo", 10_000_000),
    row("consume 10 MB", 1, "consume", "consume", 10_000_000),
    row("reflect 1 MB", 1, "reflect", "reflect", 1_000_000),
    row(
        "count vowels, 64 KiB",
        0,
        "count_vowels",
        "count_vowels",
        65_536,
    ),
    row(
        "the same in C, 64 KiB",
        1,
        "code-functions",
        "count_vowels",
        65_536,
    ),
    row("allocations", 1, "allocations", "allocations", 0),
];

/// What is called for cold starts, memory and threads.
const SMALL: Row = row("", 0, "count_vowels", "count_vowels", 64);

fn main() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    if let [mode, subject, path] = &arguments[..]
        && mode == "memory"
    {
        return memory(subject, &fs::read(path)?);
    }
    let [go, extism, only @ ..] = &arguments[..] else {
        return Err("plugins GO_WASM EXTISM_WASM [ROW]".into());
    };
    let path =
        |row: &Row| PathBuf::from([go, extism][row.file.0]).join(format!("{}.wasm", row.file.1));
    let is_wanted = |name: &str| only.first().is_none_or(|only| name.contains(only.as_str()));
    print!("{:26}", "");
    SUBJECTS.iter().for_each(|subject| print!("{subject:>16}"));
    SUBJECTS[1..]
        .iter()
        .for_each(|subject| print!("{:>10}", subject.trim_start_matches("wapc-")));
    println!();
    for row in ROWS.iter().filter(|row| is_wanted(row.name)) {
        let module = fs::read(path(row))?;
        let input = input(row.bytes);
        let mut calls = SUBJECTS.map(|subject| -> Result<Call> { compile(subject, &module)?() });
        let least = rounds(|subject, least| match &mut calls[subject] {
            Ok(call) => time(least, || call(row.export, &input).map(drop)),
            Err(error) => Err(error.to_string().into()),
        });
        print(row.name, "µs", &least, 1e6);
    }
    let module = fs::read(path(&SMALL))?;
    if is_wanted("cold start") {
        let least = rounds(|subject, _| {
            let begun = Instant::now();
            compile(SUBJECTS[subject], &module)?()?(SMALL.export, &input(SMALL.bytes))?;
            Ok(begun.elapsed().as_secs_f64())
        });
        print("cold start", "ms", &least, 1e3);
    }
    if is_wanted("instance") {
        let least = rounds(|subject, least| {
            let compiled = compile(SUBJECTS[subject], &module)?;
            time(least, || {
                compiled()?(SMALL.export, &input(SMALL.bytes)).map(drop)
            })
        });
        print("new instance and a call", "µs", &least, 1e6);
    }
    if is_wanted("memory") {
        let least = SUBJECTS.map(|subject| -> Option<f64> {
            let output = Command::new(env::current_exe().ok()?)
                .args(["memory", subject])
                .arg(path(&SMALL))
                .output();
            String::from_utf8(output.ok()?.stdout)
                .ok()?
                .trim()
                .parse()
                .ok()
        });
        print("memory of an instance", "KiB", &least, 1.0);
    }
    if is_wanted("threads") {
        let least = rounds(|subject, _| two_threads(&compile(SUBJECTS[subject], &module)?));
        print("2 threads, each call", "µs", &least, 1e6);
    }
    Ok(())
}

fn input(bytes: usize) -> Vec<u8> {
    "the quick test fox jumps over a lazy test dog "
        .bytes()
        .cycle()
        .take(bytes)
        .collect()
}

fn compile(subject: &str, module: &[u8]) -> Result<Compiled> {
    match subject {
        "extism" => theirs(module),
        "wapc-wasmtime" => ours(module, wapc_extism::Engine::wasmtime()),
        "wapc-kill" => ours(module, killing()),
        _ => ours(module, wapc_extism::Engine::wasmi()),
    }
}

/// The engine of our C library, whose calls block.
fn killing() -> wapc_extism::Engine {
    wapc_extism::Engine::new(|module, settings| {
        let builder = provider_wasmtime::WasmtimeEngineProvider::builder()
            .wasi(settings.wasi.clone())
            .functions(settings.functions.clone())
            .interruption(wapc_host::Interruption::Kill);
        Ok(Box::new(builder.build(module)?))
    })
}

/// The functions of the host that the plugins import. Each returns what its argument has.
const FUNCTIONS: [&str; 2] = ["hello_world", "host_reflect"];

fn ours(module: &[u8], engine: wapc_extism::Engine) -> Result<Compiled> {
    use wapc_extism::{Function, PTR, PluginBuilder, UserData};

    let functions = FUNCTIONS.map(|name| {
        Function::new(
            name,
            [PTR],
            [PTR],
            UserData::new(()),
            |plugin, arguments, results, _| {
                let bytes: Vec<u8> = plugin.memory_get_val(&arguments[0])?;
                plugin.memory_set_val(&mut results[0], bytes)
            },
        )
    });
    let builder = PluginBuilder::new(module)?
        .with_engine(engine)
        .with_wasi(true);
    let compiled = builder.with_functions(functions).compile()?;
    Ok(Box::new(move || {
        let mut plugin = compiled.instantiate()?;
        Ok(Box::new(move |export, input| {
            plugin.call::<_, ()>(export, input)?;
            Ok(plugin.output().len())
        }))
    }))
}

fn theirs(module: &[u8]) -> Result<Compiled> {
    use extism::{CompiledPlugin, PTR, Plugin, PluginBuilder, UserData};

    let mut builder = PluginBuilder::new(module)
        .with_wasi(true)
        .with_cache_disabled();
    for name in FUNCTIONS {
        builder = builder.with_function(
            name,
            [PTR],
            [PTR],
            UserData::new(()),
            |plugin, inputs, outputs, _| {
                let bytes: Vec<u8> = plugin.memory_get_val(&inputs[0])?;
                plugin.memory_set_val(&mut outputs[0], bytes)
            },
        );
    }
    let compiled: CompiledPlugin = builder.compile()?;
    Ok(Box::new(move || {
        let mut plugin = Plugin::new_from_compiled(&compiled)?;
        // The cheapest form: the output is lent.
        Ok(Box::new(move |export, input| {
            Ok(plugin.call::<&[u8], &[u8]>(export, input)?.len())
        }))
    }))
}

/// Returns the least figure of each subject; `None` for one that has failed, which is told.
fn rounds(mut figure: impl FnMut(usize, f64) -> Result<f64>) -> [Option<f64>; SUBJECTS.len()] {
    let mut least = [Some(f64::MAX); SUBJECTS.len()];
    for round in 0..ROUNDS {
        for turn in 0..SUBJECTS.len() {
            let subject = (round + turn) % SUBJECTS.len();
            let Some(before) = least[subject] else {
                continue;
            };
            least[subject] = match figure(subject, before) {
                Ok(figure) => Some(before.min(figure)),
                Err(error) => {
                    eprintln!("{}: {error}", SUBJECTS[subject]);
                    None
                }
            };
        }
    }
    least
}

/// Returns the least seconds of `work` within a slice of time.
fn time(before: f64, mut work: impl FnMut() -> Result<()>) -> Result<f64> {
    let (begun, mut least) = (Instant::now(), before);
    loop {
        let times = if least < 50e-6 { 100 } else { 1 };
        let started = Instant::now();
        for _ in 0..times {
            black_box(work())?;
        }
        least = least.min(started.elapsed().as_secs_f64() / f64::from(times));
        if begun.elapsed() > SLICE {
            return Ok(least);
        }
    }
}

/// Returns the seconds of one call, while two threads call a plugin each.
fn two_threads(compiled: &Compiled) -> Result<f64> {
    let (mut plugins, barrier, ends) = (
        [compiled()?, compiled()?],
        Barrier::new(3),
        AtomicBool::new(false),
    );
    let input = input(SMALL.bytes);
    thread::scope(|scope| {
        let (barrier, ends, input) = (&barrier, &ends, &input);
        let callers = plugins.each_mut().map(|plugin| {
            scope.spawn(move || {
                plugin(SMALL.export, input)?;
                barrier.wait();
                let (mut calls, begun) = (0_u32, Instant::now());
                while !ends.load(Relaxed) {
                    plugin(SMALL.export, input)?;
                    calls += 1;
                }
                Ok(begun.elapsed().as_secs_f64() / f64::from(calls))
            })
        });
        barrier.wait();
        thread::sleep(SLICE);
        ends.store(true, Relaxed);
        let seconds: Result<Vec<f64>> = callers
            .into_iter()
            .map(|caller| caller.join().expect("no panic"))
            .collect();
        Ok(seconds?.iter().sum::<f64>() / 2.0)
    })
}

/// Prints the KiB that each further instance takes in this process.
fn memory(subject: &str, module: &[u8]) -> Result<()> {
    let compiled = compile(subject, module)?;
    let mut plugins = Vec::new();
    let mut add = |count: usize| -> Result<f64> {
        for _ in 0..count {
            let mut plugin = compiled()?;
            plugin(SMALL.export, &input(SMALL.bytes))?;
            plugins.push(plugin);
        }
        let pages = fs::read_to_string("/proc/self/statm")?;
        Ok(pages.split(' ').nth(1).ok_or("statm")?.parse::<f64>()? * 4.0)
    };
    let before = add(10)?;
    println!("{}", (add(200)? - before) / 200.0);
    Ok(())
}

fn print(name: &str, unit: &str, least: &[Option<f64>; SUBJECTS.len()], factor: f64) {
    let figure = |figure: Option<f64>| {
        figure.map_or("–".into(), |figure| {
            format!("{:.2} {unit}", figure * factor)
        })
    };
    let ratio = |ours: Option<f64>| match (least[0], ours) {
        (Some(theirs), Some(ours)) => format!("{:.2}", ours / theirs),
        _ => "–".into(),
    };
    print!("{name:26}");
    least.iter().for_each(|it| print!("{:>16}", figure(*it)));
    least[1..]
        .iter()
        .for_each(|it| print!("{:>10}", ratio(*it)));
    println!();
}
