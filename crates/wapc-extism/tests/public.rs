//! Extism's own plugins, where a folder has them: `EXTISM_PLUGINS=DIR cargo test -p wapc-extism`, with the
//! folder `wasm` of Extism's Go SDK. The names are those of its tests.
#![cfg(any(feature = "wasmi", feature = "wasmtime"))]
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a case that has no plugin fails"
)]

use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use wapc_extism::{
    CallError, Engine, Error, Function, LogLevel, Manifest, PTR, Plugin, PluginBuilder, UserData,
    Val, Wasm,
};

type Case = fn(&Plugins);

struct Plugins {
    folder: PathBuf,
    engine: Engine,
}

impl Plugins {
    fn manifest(&self, name: &str) -> Manifest {
        Manifest::new([Wasm::file(self.folder.join(format!("{name}.wasm")))])
    }

    fn builder(&self, manifest: Manifest) -> PluginBuilder {
        let engine = self.engine.clone();
        PluginBuilder::of(manifest)
            .with_engine(engine)
            .with_wasi(true)
    }

    fn plugin(&self, name: &str) -> Plugin {
        self.builder(self.manifest(name)).build().unwrap()
    }
}

fn text(plugin: &mut Plugin, name: &str, input: &str) -> String {
    plugin.call(name, input).unwrap()
}

fn failure(plugin: &mut Plugin, name: &str) -> (i32, String) {
    match plugin.call::<_, Vec<u8>>(name, "") {
        Err(Error::Call(CallError { code, message, .. })) => (code, message),
        other => panic!("{other:?}"),
    }
}

const CASES: &[(&str, Case)] = &[
    ("HashMismatch", |plugins| {
        let mut manifest = plugins.manifest("alloc");
        manifest.wasm[0].hash = Some("------".into());
        let refused = plugins.builder(manifest).build().unwrap_err().to_string();
        assert!(
            refused.starts_with("Hash mismatch, found 3561467c"),
            "{refused}"
        );
    }),
    ("FunctionExists, Alloc", |plugins| {
        let mut plugin = plugins.plugin("alloc");
        assert!(plugin.function_exists("run_test") && !plugin.function_exists("i_dont_exist"));
        assert_eq!(
            failure(&mut plugin, "i_dont_exist"),
            (-1, "Function not found: i_dont_exist".into())
        );
        plugin.call::<_, ()>("run_test", "").unwrap();
    }),
    ("CallFunction, MultipleCallsOutput", |plugins| {
        let mut plugin = plugins.plugin("count_vowels");
        for (input, count, total) in [
            ("hello world", 3, 3),
            ("aaaaaa", 6, 9),
            ("", 0, 9),
            ("bbbbbbb", 0, 9),
        ] {
            let expected = format!(r#"{{"count":{count},"total":{total},"vowels":"aeiouAEIOU"}}"#);
            assert_eq!(text(&mut plugin, "count_vowels", input), expected);
        }
    }),
    ("CallFunctionMultipleInstances", |plugins| {
        let compiled = plugins
            .builder(plugins.manifest("count_vowels"))
            .compile()
            .unwrap();
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..10 {
                        let mut plugin = compiled.instantiate().unwrap();
                        let output = text(&mut plugin, "count_vowels", "benjamin");
                        assert!(output.starts_with(r#"{"count":3,"total":3,"#), "{output}");
                    }
                });
            }
        });
    }),
    ("Config", |plugins| {
        let manifest = plugins.manifest("config").with_config_key("thing", "hello");
        let mut plugin = plugins.builder(manifest).build().unwrap();
        assert_eq!(text(&mut plugin, "run_test", ""), r#"{"config": "hello"}"#);
        plugin.set_config("thing", None);
        assert_eq!(
            text(&mut plugin, "run_test", ""),
            r#"{"config": "<unset by host>"}"#
        );
    }),
    ("Fail", |plugins| {
        assert_eq!(
            failure(&mut plugins.plugin("fail"), "run_test"),
            (1, "Some error message".into())
        );
    }),
    ("Hello", |plugins| {
        assert_eq!(
            text(&mut plugins.plugin("hello"), "run_test", ""),
            "Hello, world!"
        );
    }),
    ("Exit", |plugins| {
        for (given, code) in [
            (Some("-1"), -1),
            (Some("500"), 500),
            (Some("abc"), 1),
            (None, 2),
        ] {
            let mut plugin = plugins.plugin("exit");
            plugin.set_config("code", given.map(str::to_owned));
            assert_eq!(failure(&mut plugin, "_start").0, code);
        }
    }),
    ("Host_simple", |plugins| {
        let mult = Function::new(
            "mult",
            [PTR, PTR],
            [PTR],
            UserData::new(()),
            |_, arguments, results, _| {
                let [Val::I64(a), Val::I64(b)] = arguments else {
                    return Err("two numbers".into());
                };
                results[0] = Val::I64(a * b);
                Ok(())
            },
        );
        let plugin = plugins
            .builder(plugins.manifest("host"))
            .with_functions([mult]);
        assert_eq!(
            text(&mut plugin.build().unwrap(), "run_test", ""),
            "42 x 2 = 84"
        );
    }),
    ("Host_memory", |plugins| {
        let upper = Function::new(
            "to_upper",
            [PTR],
            [PTR],
            UserData::new(()),
            |plugin, arguments, results, _| {
                let text: String = plugin.memory_get_val(&arguments[0])?;
                plugin.memory_set_val(&mut results[0], text.to_uppercase())
            },
        );
        let functions = [upper.with_namespace("host")];
        let plugin = plugins
            .builder(plugins.manifest("host_memory"))
            .with_functions(functions);
        assert_eq!(
            text(&mut plugin.build().unwrap(), "run_test", "Frodo"),
            "HELLO FRODO!"
        );
    }),
    ("Host_multiple", |plugins| {
        let message = |name: &str, before: &'static str| {
            Function::new(
                name,
                [PTR],
                [PTR],
                UserData::new(()),
                move |plugin, arguments, results, _| {
                    let text: String = plugin.memory_get_val(&arguments[0])?;
                    plugin.memory_set_val(&mut results[0], format!("{before}{text}"))
                },
            )
        };
        let functions = [
            message("hostGreenMessage", "🟢:"),
            message("hostPurpleMessage", "🟣:"),
        ];
        let plugin = plugins
            .builder(plugins.manifest("host_multiple"))
            .with_functions(functions);
        let mut plugin = plugin.build().unwrap();
        assert_eq!(
            text(&mut plugin, "say_green", "John Doe"),
            "🟢:🫱 Hey from say_green John Doe"
        );
        assert_eq!(
            text(&mut plugin, "say_purple", "Jane Doe"),
            "🟣:👋 Hello from say_purple Jane Doe"
        );
    }),
    ("HTTP_denied", |plugins| {
        let denied = "HTTP request to https://jsonplaceholder.typicode.com/todos/1 is not allowed";
        assert_eq!(
            failure(&mut plugins.plugin("http"), "run_test"),
            (-1, denied.into())
        );
    }),
    ("Log_custom, Log_default", |plugins| {
        for (level, lines) in [(LogLevel::Trace, 5), (LogLevel::Warn, 2)] {
            let seen = Arc::new(Mutex::new(0));
            let sink = seen.clone();
            let plugin = plugins
                .builder(plugins.manifest("log"))
                .with_log_level(level);
            let plugin = plugin.with_log_sink(move |_, _| *sink.lock().unwrap() += 1);
            plugin
                .build()
                .unwrap()
                .call::<_, ()>("run_test", "")
                .unwrap();
            assert_eq!(*seen.lock().unwrap(), lines);
        }
    }),
    ("Timeout", |plugins| {
        let manifest = plugins.manifest("sleep").with_config_key("duration", "3");
        let manifest = manifest.with_timeout(Duration::from_millis(100));
        let mut plugin = plugins.builder(manifest).build().unwrap();
        assert_eq!(failure(&mut plugin, "run_test"), (134, "timeout".into()));
    }),
    ("Cancel", |plugins| {
        let manifest = plugins.manifest("sleep").with_config_key("duration", "3");
        let mut plugin = plugins.builder(manifest).build().unwrap();
        let handle = plugin.cancel_handle();
        thread::scope(|scope| {
            let sleeping = scope.spawn(|| failure(&mut plugin, "run_test"));
            while !sleeping.is_finished() {
                handle.cancel();
                thread::sleep(Duration::from_millis(5));
            }
            assert_eq!(sleeping.join().unwrap(), (134, "cancelled".into()));
        });
    }),
    ("ContextCancel", |plugins| {
        let manifest = plugins.manifest("sleep").with_config_key("duration", "0");
        let mut plugin = plugins.builder(manifest).build().unwrap();
        assert_eq!(text(&mut plugin, "run_test", ""), "slept for 0 seconds");
    }),
    ("Var", |plugins| {
        let mut plugin = plugins.plugin("var");
        plugin.set_var("a", &10_u32.to_le_bytes()).unwrap();
        assert_eq!(text(&mut plugin, "run_test", ""), "a: 10");
        assert_eq!(plugin.var("a").unwrap(), 20_u32.to_le_bytes());
        plugin.call::<_, ()>("run_test", "").unwrap();
        assert_eq!(plugin.var("a").unwrap(), 40_u32.to_le_bytes());
    }),
    ("NoVars", |plugins| {
        let mut manifest = plugins.manifest("var");
        manifest.memory = manifest.memory.with_max_var_bytes(0);
        let mut plugin = plugins.builder(manifest).build().unwrap();
        assert_eq!(
            failure(&mut plugin, "run_test").1,
            "Vars are disabled by this host"
        );
    }),
    ("FS", |plugins| {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("test.txt"), "hello world!").unwrap();
        let path = folder.path().to_str().unwrap();
        let manifest = plugins.manifest("fs").with_allowed_path(path, "/mnt");
        let mut plugin = plugins.builder(manifest).build().unwrap();
        assert_eq!(text(&mut plugin, "run_test", ""), "hello world!");
    }),
    ("ReadOnlyMount", |plugins| {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("test.txt"), "hello world!").unwrap();
        let path = format!("ro:{}", folder.path().display());
        let manifest = plugins
            .manifest("read_write")
            .with_allowed_path(path, "/mnt");
        let manifest = manifest.with_config_key("path", "/mnt/test.txt");
        let mut plugin = plugins.builder(manifest).build().unwrap();
        assert_eq!(text(&mut plugin, "try_read", ""), "hello world!");
        assert!(
            failure(&mut plugin, "try_write")
                .1
                .contains("Failed to write file")
        );
    }),
    ("CountVowelsStdGo", |plugins| {
        assert_eq!(
            text(&mut plugins.plugin("std_command"), "_start", "ben"),
            "hello ben"
        );
    }),
    ("HelloHaskell", |plugins| {
        let manifest = plugins
            .manifest("hello_haskell")
            .with_config_key("greeting", "Howdy");
        let mut plugin = plugins.builder(manifest).build().unwrap();
        assert_eq!(text(&mut plugin, "testing", "John"), "Howdy, John");
    }),
    ("InputOffset", |plugins| {
        let mut plugin = plugins.plugin("input_offset");
        let output: Vec<u8> = plugin.call("input_offset_length", "hello world").unwrap();
        assert_eq!(output[0], 11);
    }),
    ("ModuleLinking", |plugins| {
        let path = |name: &str| plugins.folder.join(format!("{name}.wasm"));
        let manifest = Manifest::new([
            Wasm::file(path("lib")).with_name("lib"),
            Wasm::file(path("main")).with_name("main"),
        ]);
        let mut plugin = plugins.builder(manifest).build().unwrap();
        for _ in 0..20_000 {
            assert_eq!(text(&mut plugin, "run_test", "benjamin"), "Hello, BENJAMIN");
        }
    }),
    ("Replace", |plugins| {
        let mut plugin = plugins.plugin("replace");
        for times in [0, 1, 5000] {
            let output = text(&mut plugin, "run_test", &"a test ".repeat(times));
            assert_eq!(output, "a wasm ".repeat(times));
        }
    }),
    ("Noop", |plugins| {
        plugins
            .plugin("noop")
            .call::<_, ()>("run_test", "")
            .unwrap();
    }),
];

#[test]
fn extisms_own_plugins() {
    let Some(folder) = std::env::var_os("EXTISM_PLUGINS").map(PathBuf::from) else {
        eprintln!("left out: EXTISM_PLUGINS names no folder");
        return;
    };
    let engines = [
        #[cfg(feature = "wasmi")]
        ("wasmi", Engine::wasmi()),
        #[cfg(feature = "wasmtime")]
        ("wasmtime", Engine::wasmtime()),
    ];
    let mut failed = Vec::new();
    for (engine_name, engine) in engines {
        let plugins = Plugins {
            folder: folder.clone(),
            engine,
        };
        for (name, case) in CASES {
            let run = std::panic::AssertUnwindSafe(|| case(&plugins));
            if std::panic::catch_unwind(run).is_err() {
                failed.push(format!("{engine_name}: {name}"));
            }
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}
