//! Runs the modules of the reports in `docs/upstream/` on plain wasmi.
//!
//! Each test asserts the wrong result, so it fails as soon as the pinned wasmi
//! is fixed. The workaround in `src/rewrite/`, the report and the test are then
//! removed together.

use std::{
    env,
    panic::catch_unwind,
    process::{self, Command, ExitStatus},
    thread,
    time::Duration,
};

use wapc_host::module;
use wasmi::{CompilationMode, Config, Engine, Instance, Linker, Module, Store, TypedResumableCall};

const ADVICE: &str = "this wasmi is right: remove the workaround, its report and this test";

/// Returns the first WebAssembly text in a report.
fn reported(report: &str) -> Vec<u8> {
    let (_, text) = report.split_once("```wat\n").expect("it shows a module");
    let (text, _) = text.split_once("```").expect("the module ends");
    module::binary(text.as_bytes())
        .expect("it is well-formed")
        .into_owned()
}

fn engine(fuel: bool) -> Engine {
    let mut config = Config::default();
    config.compilation_mode(CompilationMode::Eager);
    config.consume_fuel(fuel);
    Engine::new(&config)
}

fn instance(module: &Module) -> (Store<()>, Instance) {
    let mut store = Store::new(module.engine(), ());
    let instance = Linker::new(module.engine())
        .instantiate_and_start(&mut store, module)
        .expect("it can be instantiated");
    (store, instance)
}

/// Calls `run` with `param`.
fn run(report: &str, param: i32) -> i32 {
    let module = Module::new(&engine(false), reported(report)).expect("it is translated");
    let (mut store, instance) = instance(&module);
    instance
        .get_typed_func::<i32, i32>(&store, "run")
        .expect("it exports `run`")
        .call(&mut store, param)
        .expect("it returns")
}

#[test]
fn a_select_after_eqz_of_a_local_tests_a_stale_register() {
    let report = include_str!("../../docs/upstream/wasmi-select-eqz.md");
    assert_eq!(run(report, 0), 2, "{ADVICE}: it selects 1");
}

#[test]
fn a_local_below_block_parameters_is_not_preserved() {
    let report = include_str!("../../docs/upstream/wasmi-block-params.md");
    assert_eq!(run(report, 7), 65536, "{ADVICE}: it returns its parameter");
}

#[test]
fn the_translator_panics_at_a_store_of_a_local_at_itself() {
    let binary = reported(include_str!(
        "../../docs/upstream/wasmi-store-same-local.md"
    ));
    let translated = catch_unwind(|| Module::new(&engine(false), binary).map(drop));
    assert!(translated.is_err(), "{ADVICE}");
}

/// The interpreter decodes the next instruction from the wrong address, so its
/// behaviour is undefined. It runs in a child process. The test asserts only
/// that the child does not return the right result.
#[test]
fn a_store_of_a_lane_at_a_large_offset_leaves_its_code() {
    const CHILD: &str = "WASMI_STORE_LANE";
    if env::var_os(CHILD).is_some() {
        abort_after(Duration::from_secs(20));
        let report = include_str!("../../docs/upstream/wasmi-store-lane.md");
        let right = run(report, 7) == 7;
        process::exit(if right { 0 } else { 1 });
    }
    let status = Command::new(env::current_exe().expect("a test has a path"))
        .args([
            "--exact",
            "a_store_of_a_lane_at_a_large_offset_leaves_its_code",
        ])
        .env(CHILD, "1")
        .output()
        .expect("it can be started")
        .status;
    assert!(!ExitStatus::success(&status), "{ADVICE}");
}

/// Ends the process if it is still running after `time`.
fn abort_after(time: Duration) {
    thread::spawn(move || {
        thread::sleep(time);
        process::abort();
    });
}

#[test]
fn a_guest_out_of_fuel_in_table_grow_restarts_its_function() {
    let binary = reported(include_str!(
        "../../docs/upstream/wasmi-table-grow-resume.md"
    ));
    let module = Module::new(&engine(true), binary).expect("it is translated");
    let (mut store, instance) = instance(&module);
    let run = instance
        .get_typed_func::<(), i32>(&store, "run")
        .expect("it exports `run`");
    store.set_fuel(100).expect("the engine meters fuel");
    let Ok(TypedResumableCall::OutOfFuel(paused)) = run.call_resumable(&mut store, ()) else {
        panic!("the growth costs more than that");
    };
    store.set_fuel(1_000_000).expect("the engine meters fuel");
    match paused.resume(&mut store) {
        Ok(TypedResumableCall::Finished(runs)) => {
            assert_eq!(runs, 2, "{ADVICE}: the beginning has run once");
        }
        other => panic!("it ends with fuel enough: {other:?}"),
    }
}
