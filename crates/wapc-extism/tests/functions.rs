//! Functions of the host: what they do with a plugin's memory, on each engine that is built in.
#![cfg(any(feature = "wasmi", feature = "wasmtime"))]
#![expect(
    clippy::unwrap_used,
    reason = "what a test's own functions unwrap fails the test"
)]

use std::sync::{Arc, Mutex};

use wapc_extism::{
    CallError, CurrentPlugin, Engine, Error, Function, Manifest, PTR, Plugin, PluginBuilder,
    UserData, Val, ValType,
};
use wapc_host::BoxError;

fn engines() -> Vec<Engine> {
    vec![
        #[cfg(feature = "wasmi")]
        Engine::wasmi(),
        #[cfg(feature = "wasmtime")]
        Engine::wasmtime(),
    ]
}

/// A plugin whose `run` calls `f` with the input's handle and a block of 8 bytes, and whose output is the block that `f`
/// returns.
const MODULE: &str = r#"(module
    (import "extism:host/user" "f" (func $f (param i64 i64) (result i64)))
    (import "extism:host/env" "alloc" (func $alloc (param i64) (result i64)))
    (import "extism:host/env" "free" (func $free (param i64)))
    (import "extism:host/env" "length" (func $length (param i64) (result i64)))
    (import "extism:host/env" "store_u64" (func $store_u64 (param i64 i64)))
    (import "extism:host/env" "load_u64" (func $load_u64 (param i64) (result i64)))
    (import "extism:host/env" "input_offset" (func $input (result i64)))
    (import "extism:host/env" "input_length" (func $input_length (result i64)))
    (import "extism:host/env" "output_set" (func $output_set (param i64 i64)))
    (import "extism:host/env" "error_set" (func $error_set (param i64)))
    (global $block (mut i64) (i64.const 0))
    (func $word (result i64) (local $handle i64)
        (local.set $handle (call $alloc (i64.const 8)))
        (call $store_u64 (local.get $handle) (i64.const 0x6161616161616161))
        (local.get $handle))
    (func $out (param $handle i64)
        (call $output_set (local.get $handle) (call $length (local.get $handle))))
    (func (export "run")
        (global.set $block (call $word))
        (call $out (call $f (call $input) (global.get $block))))
    (func (export "argument")
        (global.set $block (call $word))
        (drop (call $f (call $input) (global.get $block)))
        (call $out (global.get $block)))
    (func (export "input_length") (local $block i64)
        (drop (call $f (call $input) (i64.const 0)))
        (local.set $block (call $alloc (i64.const 8)))
        (call $store_u64 (local.get $block) (call $input_length))
        (call $out (local.get $block)))
    (func (export "error_and_run")
        (call $error_set (call $word))
        (call $out (call $f (call $input) (call $word))))
    (func (export "wild") (call $out (call $f (i64.const 4711) (i64.const -1)))))"#;

type Results<'r> = &'r mut [Val];

fn plugin(
    engine: &Engine,
    body: impl Fn(&mut CurrentPlugin<'_>, &[Val], Results<'_>) -> Result<(), BoxError>
    + Send
    + Sync
    + 'static,
) -> Plugin {
    let function = Function::new(
        "f",
        [PTR, PTR],
        [PTR],
        UserData::new(()),
        move |plugin, arguments, results, _| body(plugin, arguments, results),
    );
    builder(engine, MODULE, function).build().unwrap()
}

fn builder(engine: &Engine, module: &str, function: Function) -> PluginBuilder {
    PluginBuilder::of(Manifest::new([module.as_bytes()]))
        .with_engine(engine.clone())
        .with_functions([function])
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

fn handle(value: Val) -> u64 {
    match value {
        Val::I64(handle) => handle.cast_unsigned(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn blocks_are_changed_in_place() {
    for engine in engines() {
        let mut plugin = plugin(&engine, |plugin, arguments, results| {
            let (input, block) = (handle(arguments[0]), handle(arguments[1]));
            assert_eq!(plugin.memory_str(block)?, Some("aaaaaaaa"));
            plugin.memory_bytes_mut(block).unwrap()[..4].copy_from_slice(b"host");
            // A handle is an offset in the memory.
            let at = usize::try_from(block)?;
            plugin.memory()[at + 7] = b'!';
            results[0] = plugin.memory_to_val(plugin.config("key").unwrap_or_default())?;
            assert_eq!(
                plugin.memory_from_val(&arguments[0]),
                (input != 0).then_some(input)
            );
            Ok(())
        });
        assert_eq!(text(&mut plugin, "argument", "x"), "hostaaa!");
        plugin.set_config("key", Some("of the configuration".into()));
        assert_eq!(text(&mut plugin, "run", ""), "of the configuration");
    }
}

#[test]
fn blocks_are_made_and_freed_as_the_plugin_does() {
    for engine in engines() {
        let mut plugin = plugin(&engine, |plugin, arguments, results| {
            let input = handle(arguments[0]);
            assert_eq!(plugin.memory_alloc(0), 0);
            assert_eq!(plugin.memory_alloc(u64::MAX), 0);
            assert_eq!(plugin.memory_alloc(1 << 40), 0);
            // What an earlier call has left is not seen.
            let zeros = plugin.memory_alloc(100_000);
            assert_eq!(plugin.memory_length(zeros), 100_000);
            let bytes = plugin.memory_bytes_mut(zeros).unwrap();
            assert!(bytes.iter().all(|byte| *byte == 0));
            bytes.fill(7);
            plugin.memory_free(zeros);
            plugin.memory_free(zeros);
            assert_eq!(plugin.memory_bytes(zeros), None);
            plugin.memory_free(input);
            results[0] = plugin.memory_to_val("x".repeat(300_000))?;
            Ok(())
        });
        for _ in 0..3 {
            assert_eq!(text(&mut plugin, "run", "input"), "x".repeat(300_000));
        }
        assert_eq!(plugin.call::<_, u64>("input_length", "input").unwrap(), 0);
    }
}

#[test]
fn a_freed_block_comes_again_where_the_memory_would_grow() {
    for engine in engines() {
        let function = Function::new(
            "f",
            [PTR, PTR],
            [PTR],
            UserData::new(()),
            |plugin, _, _, _| {
                for _ in 0..1_000 {
                    let block = plugin.memory_alloc(100_000);
                    assert_ne!(block, 0, "it comes again");
                    plugin.memory_free(block);
                }
                // What is not freed meets the limit.
                while plugin.memory_alloc(100_000) != 0 {}
                assert!(plugin.memory_new(vec![1; 100_000]).is_err());
                Ok(())
            },
        );
        let mut builder = builder(&engine, MODULE, function);
        let limits = wapc_host::Limits::default().timeout(None);
        builder = builder.with_limits(limits.max_total_memory_bytes(20 << 16));
        let mut plugin = builder.build().unwrap();
        plugin.call::<_, ()>("run", "").unwrap();
    }
}

#[test]
fn wild_handles_are_none() {
    for engine in engines() {
        let mut plugin = plugin(&engine, |plugin, arguments, _| {
            let size = u64::try_from(plugin.memory().len())?;
            let wild = [handle(arguments[0]), handle(arguments[1])];
            for wild in wild.into_iter().chain(0..300).chain(size - 20..size + 20) {
                assert_eq!(plugin.memory_length(wild), 0);
                assert_eq!(plugin.memory_bytes(wild), None);
                plugin.memory_free(wild);
            }
            assert!(plugin.memory_get::<String>(4711).is_err());
            assert_eq!(plugin.memory_get::<String>(0)?, "");
            assert_eq!(plugin.memory_from_val(&Val::I64(4711)), None);
            assert!(plugin.memory_get_val::<String>(&Val::I32(1)).is_err());
            Ok(())
        });
        plugin.call::<_, ()>("wild", "").unwrap();
    }
}

#[test]
fn errors_that_a_function_sets() {
    for engine in engines() {
        let mut plugin = plugin(&engine, |plugin, arguments, results| {
            let what: String = plugin.memory_get_val(&arguments[0])?;
            match what.as_str() {
                "set" => plugin.set_error("TEST")?,
                "set_and_fail" => {
                    plugin.set_error("TEST")?;
                    return Err("another".into());
                }
                "fail" => return Err("another".into()),
                "clear" => plugin.clear_error(),
                "wrong" => results[0] = Val::F32(0),
                _ => {
                    let error = plugin.error().unwrap_or_default();
                    plugin.memory_set_val(&mut results[0], error)?;
                }
            }
            Ok(())
        });
        let mut fails = |name, input| failure(&mut plugin, name, input);
        assert_eq!(fails("run", "set"), (0, "TEST".into()));
        assert_eq!(fails("run", "set_and_fail"), (-1, "TEST".into()));
        assert_eq!(fails("run", "fail"), (-1, "another".into()));
        assert_eq!(fails("error_and_run", "fail"), (-1, "aaaaaaaa".into()));
        assert_eq!(fails("error_and_run", "set"), (0, "TEST".into()));
        assert!(fails("run", "wrong").1.contains("other results"));
        assert_eq!(text(&mut plugin, "run", "ask"), "");
        plugin.call::<_, ()>("error_and_run", "clear").unwrap();
    }
}

#[test]
fn a_function_knows_its_plugin() {
    for engine in engines() {
        let ids = Arc::new(Mutex::new(Vec::new()));
        let seen = ids.clone();
        let function = Function::new(
            "f",
            [PTR, PTR],
            [PTR],
            UserData::new(()),
            move |plugin, _, results, _| {
                seen.lock().unwrap().push(plugin.id());
                let calls = plugin.var("calls").unwrap_or_default();
                plugin.set_var("calls", [&*calls, b"+"].concat())?;
                assert!(!plugin.is_cancelled());
                results[0] = plugin.memory_to_val([calls, b"+".to_vec()].concat())?;
                Ok(())
            },
        );
        // A constructor calls it too.
        let module = MODULE.replace(
            "(func (export \"run\")",
            "(func (export \"__wasm_call_ctors\") (drop (call $f (i64.const 0) (i64.const 0)))) (func (export \"run\")",
        );
        let compiled = builder(&engine, &module, function).compile().unwrap();
        let (mut first, mut second) = (
            compiled.instantiate().unwrap(),
            compiled.instantiate().unwrap(),
        );
        assert_eq!(text(&mut first, "run", ""), "++");
        assert_eq!(text(&mut first, "run", ""), "+++");
        assert_eq!(text(&mut second, "run", ""), "++");
        // A call of the host below finds it, too.
        assert_eq!(second.host().call("run", b"").unwrap(), b"+++");
        let expected = [&first, &second, &first, &first, &second, &second];
        assert_eq!(*ids.lock().unwrap(), expected.map(Plugin::id));
    }
}

#[test]
fn async_functions_suspend_the_plugin() {
    for engine in engines() {
        let function = Function::new_async(
            "f",
            [PTR, PTR],
            [PTR],
            UserData::new(0_u32),
            |plugin, arguments, calls| async move {
                *calls.get().lock().unwrap() += 1;
                let text: String = plugin.memory_get_val(&arguments[0]).await?;
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
                match text.as_str() {
                    "fail" => return Err("on purpose".into()),
                    "set_and_fail" => {
                        plugin.with(|plugin| plugin.set_error("TEST")).await??;
                        return Err("another".into());
                    }
                    "context" => {
                        let context = plugin.host_context::<String>().ok_or("no context")?;
                        return Ok(vec![plugin.memory_to_val(context.as_str()).await?]);
                    }
                    "wrong" => return Ok(vec![]),
                    _ => {}
                }
                let argument = handle(arguments[1]);
                plugin
                    .with(move |plugin| plugin.memory_bytes_mut(argument).unwrap().fill(b'b'))
                    .await?;
                assert_eq!(plugin.memory_get::<String>(argument).await?, "bbbbbbbb");
                plugin.set_var("calls", calls.get().lock().unwrap().to_le_bytes())?;
                Ok(vec![plugin.memory_to_val(text.to_uppercase()).await?])
            },
        );
        let mut plugin = builder(&engine, MODULE, function).build().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        runtime.block_on(async {
            for input in ["hello", "", &"x".repeat(100_000)] {
                let called = plugin.call_async::<_, String>("run", input).await;
                assert_eq!(called.unwrap(), input.to_uppercase());
            }
            let called = plugin.call_async::<_, String>("argument", "").await;
            assert_eq!(called.unwrap(), "bbbbbbbb");
            assert_eq!(plugin.var("calls").unwrap(), 4_u32.to_le_bytes());
            for (input, text) in [("fail", "on purpose"), ("set_and_fail", "TEST")] {
                match plugin.call_async::<_, ()>("run", input).await {
                    Err(Error::Call(error)) => {
                        assert_eq!((error.code, &*error.message), (-1, text));
                    }
                    other => panic!("{other:?}"),
                }
            }
            let wrong = plugin.call_async::<_, ()>("run", "wrong").await;
            assert!(wrong.unwrap_err().to_string().contains("other results"));
        });
        // A blocking call says what to do.
        let (code, text) = failure(&mut plugin, "run", "");
        assert!(code == -1 && text.contains("call_async"), "{code} {text}");
    }
}

#[test]
fn functions_have_any_number_of_results() {
    let module = r#"(module
        (import "m" "swap" (func $swap (param i32 i64 f32 f64) (result f64 f32 i64 i32)))
        (func (export "run") (result i32) (local i32 i64 f32 f64)
            (call $swap (i32.const -1) (i64.const -2) (f32.const 0.5) (f64.const -0.25))
            (local.set 0) (local.set 1) (local.set 2) (local.set 3)
            (i32.and
                (i32.and (i32.eq (local.get 0) (i32.const -1)) (i64.eq (local.get 1) (i64.const -2)))
                (i32.and (f32.eq (local.get 2) (f32.const 0.5)) (f64.eq (local.get 3) (f64.const -0.25))))))"#;
    let types = [ValType::I32, ValType::I64, ValType::F32, ValType::F64];
    for engine in engines() {
        let reversed = types.into_iter().rev();
        let swap = Function::new(
            "swap",
            types,
            reversed,
            UserData::new(()),
            |_, arguments, results, _| {
                results.copy_from_slice(arguments);
                results.reverse();
                Ok(())
            },
        );
        let swap = swap.with_namespace("m");
        let mut plugin = builder(&engine, module, swap).build().unwrap();
        assert_eq!(failure(&mut plugin, "run", "").0, 1);
    }
}

/// A plugin that does what the function of the host tells it, until that returns 0: it makes a block, frees one, or
/// returns a length.
const OBEDIENT: &str = r#"(module
    (import "extism:host/user" "f" (func $f (param i64 i64) (result i64)))
    (import "extism:host/env" "alloc" (func $alloc (param i64) (result i64)))
    (import "extism:host/env" "free" (func $free (param i64)))
    (import "extism:host/env" "length" (func $length (param i64) (result i64)))
    (import "extism:host/env" "load_u64" (func $load_u64 (param i64) (result i64)))
    (func (export "run") (local $command i64) (local $what i64) (local $of i64) (local $result i64)
        (loop $next
            (local.set $command (call $f (local.get $result) (i64.const 0)))
            (if (i64.eqz (local.get $command)) (then (return)))
            (local.set $what (call $load_u64 (local.get $command)))
            (local.set $of (call $load_u64 (i64.add (local.get $command) (i64.const 8))))
            (local.set $result (i64.const 0))
            (if (i64.eq (local.get $what) (i64.const 0)) (then (local.set $result (call $alloc (local.get $of)))))
            (if (i64.eq (local.get $what) (i64.const 1)) (then (call $free (local.get $of))))
            (if (i64.eq (local.get $what) (i64.const 2)) (then (local.set $result (call $length (local.get $of)))))
            (br $next))))"#;

/// The blocks of a call, made and freed by the plugin and its host in turn.
struct Blocks {
    random: u64,
    /// Handle, length, and the byte that the block is full of.
    live: Vec<(u64, u64, u8)>,
    asked: Option<(u64, u64)>,
    steps: u32,
}

impl Blocks {
    fn below(&mut self, limit: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 20) % limit
    }

    fn size(&mut self) -> u64 {
        match self.below(8) {
            0 => 100_000,
            _ => 1 + self.below(300),
        }
    }

    /// Fills a new block, which overlaps none.
    fn add(&mut self, plugin: &mut CurrentPlugin<'_>, handle: u64, length: u64) {
        assert_eq!(plugin.memory_length(handle), length);
        let overlaps =
            |(other, bytes, _): &(u64, u64, u8)| handle < other + bytes && *other < handle + length;
        assert!(
            !self.live.iter().any(overlaps),
            "{handle} of {length} in {:?}",
            self.live
        );
        let byte = u8::try_from(self.below(256)).unwrap();
        plugin.memory_bytes_mut(handle).unwrap().fill(byte);
        self.live.push((handle, length, byte));
    }

    /// Picks a block, whose bytes are as they were.
    fn take(&mut self, plugin: &mut CurrentPlugin<'_>) -> Option<u64> {
        let number = self.below(u64::try_from(self.live.len() + 1).unwrap());
        let at = usize::try_from(number).unwrap();
        let (handle, length, byte) = *self.live.get(at)?;
        let block = plugin.memory_bytes(handle).unwrap();
        assert_eq!(u64::try_from(block.len()).unwrap(), length);
        assert!(block.iter().all(|found| *found == byte), "{handle}");
        self.live.swap_remove(at);
        Some(handle)
    }

    fn step(&mut self, plugin: &mut CurrentPlugin<'_>, result: u64) -> Result<u64, BoxError> {
        match self.asked.take() {
            Some((0, length)) => self.add(plugin, result, length),
            Some((1, handle)) => assert_eq!(plugin.memory_bytes(handle), None),
            Some((_, handle)) => assert_eq!(plugin.memory_length(handle), result),
            None => {}
        }
        self.steps += 1;
        if self.steps == 1_000 {
            return Ok(0);
        }
        let length = self.size();
        match self.below(3) {
            0 => {
                let handle = plugin.memory_alloc(length);
                assert!(
                    plugin
                        .memory_bytes(handle)
                        .unwrap()
                        .iter()
                        .all(|byte| *byte == 0)
                );
                self.add(plugin, handle, length);
            }
            1 => {
                if let Some(handle) = self.take(plugin) {
                    plugin.memory_free(handle);
                }
            }
            _ => {}
        }
        let asked = match self.below(3) {
            0 => (0, self.size()),
            1 => (1, self.take(plugin).unwrap_or(4711)),
            _ => (2, self.live.first().map_or(4712, |block| block.0)),
        };
        self.asked = Some(asked);
        let command: Vec<u8> = [asked.0, asked.1]
            .into_iter()
            .flat_map(u64::to_le_bytes)
            .collect();
        let handle = plugin.memory_new(command)?;
        // The command is read before anything is made.
        plugin.memory_free(handle);
        Ok(handle)
    }
}

#[test]
fn blocks_of_the_plugin_and_of_its_host_are_apart() {
    for engine in engines() {
        let blocks = UserData::new(Blocks {
            random: 0x9e37_79b9_7f4a_7c15,
            live: vec![],
            asked: None,
            steps: 0,
        });
        let function = Function::new(
            "f",
            [PTR, PTR],
            [PTR],
            blocks.clone(),
            |plugin, arguments, results, blocks| {
                let blocks = blocks.get();
                let command = blocks.lock().unwrap().step(plugin, handle(arguments[0]))?;
                results[0] = Val::I64(command.cast_signed());
                Ok(())
            },
        );
        let mut plugin = builder(&engine, OBEDIENT, function).build().unwrap();
        for _ in 0..5 {
            plugin.call::<_, ()>("run", "").unwrap();
            let blocks = blocks.get();
            let mut blocks = blocks.lock().unwrap();
            assert_eq!(blocks.steps, 1_000);
            // A block is of one call.
            (blocks.steps, blocks.asked) = (0, None);
            blocks.live.clear();
        }
    }
}
