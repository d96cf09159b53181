//! Extism's own plugins, where a folder has them: `EXTISM_WASM=DIR cargo test -p wapc-extism`, with the folder `wasm`
//! of Extism's repository. The names are those of its tests.
#![cfg(any(feature = "wasmi", feature = "wasmtime"))]
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a case that has no plugin fails"
)]

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    sync::Mutex,
    thread,
    time::Duration,
};

use wapc_extism::{
    CallError, CurrentPlugin, Engine, Error, Function, Manifest, PTR, Plugin, PluginBuilder,
    UserData, Val, Wasm,
};
use wapc_host::BoxError;

type Case = fn(&Plugins);

struct Plugins {
    folder: PathBuf,
    engine: Engine,
}

impl Plugins {
    fn wasm(&self, name: &str) -> Wasm {
        Wasm::file(self.folder.join(format!("{name}.wasm")))
    }

    fn manifest(&self, name: &str) -> Manifest {
        Manifest::new([self.wasm(name)])
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

    /// `code-functions`, whose function of the host is this one.
    fn with_function(
        &self,
        body: impl Fn(&mut CurrentPlugin<'_>, &[Val], &mut [Val]) -> Result<(), BoxError>
        + Send
        + Sync
        + 'static,
    ) -> Plugin {
        let builder = self.builder(self.manifest("code-functions"));
        builder
            .with_functions([function("hello_world", body)])
            .build()
            .unwrap()
    }
}

fn function(
    name: &str,
    body: impl Fn(&mut CurrentPlugin<'_>, &[Val], &mut [Val]) -> Result<(), BoxError>
    + Send
    + Sync
    + 'static,
) -> Function {
    let body = move |plugin: &mut CurrentPlugin<'_>,
                     arguments: &[Val],
                     results: &mut [Val],
                     _: UserData<()>| body(plugin, arguments, results);
    Function::new(name, [PTR], [PTR], UserData::default(), body)
}

/// Returns the argument.
#[expect(clippy::unnecessary_wraps, reason = "a function of the host may fail")]
fn same(_: &mut CurrentPlugin<'_>, arguments: &[Val], results: &mut [Val]) -> Result<(), BoxError> {
    results.copy_from_slice(arguments);
    Ok(())
}

fn text(plugin: &mut Plugin, name: &str, input: &str) -> String {
    plugin.call(name, input).unwrap()
}

fn failure(plugin: &mut Plugin, name: &str, input: &str) -> (i32, String) {
    match plugin.call::<_, Vec<u8>>(name, input) {
        Err(Error::Call(CallError { code, message, .. })) => (code, message),
        other => panic!("{other:?}"),
    }
}

/// Counts of vowels are written in two ways by the two plugins that do.
fn count(answer: &str) -> String {
    answer
        .chars()
        .skip_while(|letter| !letter.is_ascii_digit())
        .take_while(char::is_ascii_digit)
        .collect()
}

/// A server on the loopback that answers after a time.
fn serve(after: Duration) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            _ = stream.read(&mut [0; 4096]).unwrap();
            thread::sleep(after);
            let answer = "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 5\r\n\
                          connection: close\r\n\r\nhello";
            stream.write_all(answer.as_bytes()).ok();
        }
    });
    address
}

const CASES: &[(&str, Case)] = &[
    ("it_works", |plugins| {
        let input = "this is a long string of text that is repeated for testing".repeat(1182);
        let vowels = input
            .chars()
            .filter(|letter| "aeiou".contains(*letter))
            .count();
        let answer = text(&mut plugins.with_function(same), "count_vowels", &input);
        assert_eq!(count(&answer), vowels.to_string());
    }),
    ("plugin_threads", |plugins| {
        let plugin = Mutex::new(plugins.with_function(same));
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for _ in 0..10 {
                        let answer = text(
                            &mut plugin.lock().unwrap(),
                            "count_vowels",
                            "this is a test aaa",
                        );
                        assert_eq!(count(&answer), "7");
                    }
                });
            }
        });
    }),
    ("cancel", |plugins| {
        let mut plugin = plugins.plugin("loop");
        let handle = plugin.cancel_handle();
        for _ in 0..5 {
            thread::scope(|scope| {
                let looping = scope.spawn(|| failure(&mut plugin, "loop_forever", "abc123"));
                while !looping.is_finished() {
                    handle.cancel();
                    thread::sleep(Duration::from_millis(1));
                }
                assert_eq!(looping.join().unwrap().0, 134);
            });
        }
    }),
    ("timeout", |plugins| {
        let manifest = plugins
            .manifest("loop")
            .with_timeout(Duration::from_millis(50));
        let mut plugin = plugins.builder(manifest).build().unwrap();
        for _ in 0..2 {
            assert_eq!(
                failure(&mut plugin, "loop_forever", ""),
                (134, "timeout".into())
            );
        }
    }),
    ("fuel", |plugins| {
        let builder = plugins.builder(plugins.manifest("loop")).with_fuel_limit(1);
        let mut plugin = builder.build().unwrap();
        for _ in 0..10_001 {
            assert!(
                failure(&mut plugin, "loop_forever", "abc123")
                    .1
                    .contains("fuel")
            );
        }
    }),
    ("multiple_instantiations", |plugins| {
        let mut plugin = plugins.plugin("code");
        for _ in 0..10_001 {
            assert_eq!(count(&text(&mut plugin, "count_vowels", "abc123")), "1");
        }
    }),
    ("globals", |plugins| {
        let mut plugin = plugins.plugin("globals");
        for call in 0..100_001 {
            let answer = plugin.call_with_host_context::<_, String, _>("globals", "", ());
            assert_eq!(count(&answer.unwrap()), call.to_string());
        }
    }),
    ("toml_manifest", |plugins| {
        let path = plugins.folder.join("code.wasm");
        let manifest = format!("timeout_ms = 1000\n[[wasm]]\npath = {path:?}\n");
        let manifest = Manifest::parse(manifest.as_bytes()).unwrap();
        let mut plugin = plugins.builder(manifest).build().unwrap();
        assert_eq!(count(&text(&mut plugin, "count_vowels", "abc123")), "1");
    }),
    ("call_with_host_context", |plugins| {
        let context = function("host_reflect", |plugin, _, results| {
            let context = plugin.host_context::<String>().ok_or("no context")?;
            plugin.memory_set_val(&mut results[0], context.as_str())
        });
        let builder = plugins
            .builder(plugins.manifest("reflect"))
            .with_functions([context]);
        let mut plugin = builder.build().unwrap();
        let answer =
            plugin.call_with_host_context::<_, String, _>("reflect", "x", "hello world".to_owned());
        assert_eq!(answer.unwrap(), "hello world");
        assert_eq!(failure(&mut plugin, "reflect", "x").0, -1);
    }),
    ("fuzz_reflect_plugin", |plugins| {
        let builder = plugins.builder(plugins.manifest("reflect"));
        let mut plugin = builder
            .with_functions([function("host_reflect", same)])
            .build()
            .unwrap();
        // All lengths of 1 to 65,539 in a release build.
        let step = if cfg!(debug_assertions) { 97 } else { 1 };
        for length in (1..=65_539).step_by(step) {
            let input = "a".repeat(length);
            assert!(text(&mut plugin, "reflect", &input) == input, "{length}");
        }
    }),
    ("memory_max", |plugins| {
        let input = "a".repeat(131_072);
        let with = |pages| {
            plugins
                .builder(plugins.manifest("code").with_memory_max(pages))
                .build()
        };
        assert!(with(16).unwrap_err().to_string().contains("oom"));
        let answer = text(&mut with(17).unwrap(), "count_vowels", &input);
        assert_eq!(count(&answer), "131072");
    }),
    ("extism_error", |plugins| {
        let mut plugin = plugins.with_function(|plugin, _, _| plugin.set_error("TEST"));
        let input = "a".repeat(1024);
        assert_eq!(
            failure(&mut plugin, "count_vowels", &input),
            (0, "TEST".into())
        );
        let mut plugin = plugins.with_function(|plugin, _, _| {
            plugin.set_error("TEST")?;
            Err("bailed".into())
        });
        assert_eq!(
            failure(&mut plugin, "count_vowels", &input),
            (-1, "TEST".into())
        );
    }),
    ("http", |plugins| {
        let request = |address| format!(r#"{{"url": "http://{address}/"}}"#);
        let at_once = request(serve(Duration::ZERO));
        // Not allowed.
        assert!(
            failure(&mut plugins.plugin("http"), "http_request", &at_once)
                .1
                .contains("not allowed")
        );
        let allowed = |name: &str| plugins.manifest(name).with_allowed_host("127.0.0.1");
        let mut plugin = plugins.builder(allowed("http")).build().unwrap();
        for _ in 0..2 {
            assert_eq!(text(&mut plugin, "http_request", &at_once), "hello");
        }
        // Its time.
        let manifest = allowed("http").with_timeout(Duration::from_millis(20));
        let mut plugin = plugins.builder(manifest).build().unwrap();
        let late = request(serve(Duration::from_secs(2)));
        assert!(
            failure(&mut plugin, "http_request", &late)
                .1
                .contains("timeout")
        );
        // Response headers.
        for (allows, expected) in [(true, r#""content-type":"text/html""#), (false, "{}")] {
            let builder = plugins.builder(allowed("http_headers"));
            let mut plugin = builder.with_http_response_headers(allows).build().unwrap();
            let answer = text(&mut plugin, "http_get", &at_once);
            assert!(answer.contains(expected), "{answer}");
        }
    }),
    ("readonly_dirs", |plugins| {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("data.txt"), "hello world!").unwrap();
        let path = format!("ro:{}", folder.path().display());
        let manifest = plugins
            .manifest("read_write")
            .with_allowed_path(path, "/data");
        let manifest = manifest.with_config_key("path", "/data/data.txt");
        let mut plugin = plugins.builder(manifest).build().unwrap();
        assert_eq!(text(&mut plugin, "try_read", ""), "hello world!");
        failure(&mut plugin, "try_write", "hello hello!");
    }),
    ("issue_620", |plugins| {
        assert_eq!(text(&mut plugins.plugin("empty"), "test", ""), "");
    }),
    ("issue_775", |plugins| {
        let mut plugin = plugins.plugin("unreachable");
        for _ in 0..2 {
            assert_eq!(failure(&mut plugin, "do_unreachable", "").0, 134);
        }
    }),
    ("pool", |plugins| {
        for instances in 1..=3 {
            let builder = plugins.builder(plugins.manifest("code"));
            let plugin = builder
                .with_host(move |host| host.max_instances(instances))
                .build()
                .unwrap();
            assert!(
                plugin.function_exists("count_vowels") && !plugin.function_exists("not_existing")
            );
            thread::scope(|scope| {
                for _ in 0..12 {
                    scope.spawn(|| plugin.host().call("count_vowels", b"abc").unwrap());
                }
            });
        }
    }),
    ("linking", |plugins| {
        let modules = [
            plugins.wasm("upper").with_name("extism:host/user"),
            plugins.wasm("reflect").with_name("main"),
        ];
        let mut plugin = plugins.builder(Manifest::new(modules)).build().unwrap();
        assert_eq!(
            text(&mut plugin, "reflect", "Hello, world!"),
            "HELLO, WORLD!"
        );
    }),
];

#[test]
fn extisms_own_plugins() {
    let Some(folder) = std::env::var_os("EXTISM_WASM").map(PathBuf::from) else {
        eprintln!("left out: EXTISM_WASM names no folder");
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
