"""Tests of our libextism by the PyPI package extism, unmodified: see the gate for how they are run."""

import threading
import unittest

import extism
from extism.extism import CompiledPlugin

PLUGIN = """(module
    (import "extism:host/env" "input_offset" (func $input (result i64)))
    (import "extism:host/env" "input_length" (func $input_length (result i64)))
    (import "extism:host/env" "length" (func $length (param i64) (result i64)))
    (import "extism:host/env" "output_set" (func $output (param i64 i64)))
    (import "extism:host/env" "error_set" (func $error (param i64)))
    (import "extism:host/env" "config_get" (func $config (param i64) (result i64)))
    (import "extism:host/env" "var_get" (func $var (param i64) (result i64)))
    (import "extism:host/env" "var_set" (func $set_var (param i64 i64)))
    (import "extism:host/user" "shout" (func $shout (param i64) (result i64)))
    (import "extism:host/user" "context" (func $context (result i64)))
    (func $answer (param $block i64) (call $output (local.get $block) (call $length (local.get $block))))
    (func (export "echo") (call $output (call $input) (call $input_length)))
    (func (export "shouted") (call $answer (call $shout (call $input))))
    (func (export "context") (call $answer (call $context)))
    (func (export "setting") (call $answer (call $config (call $input))))
    (func (export "fail") (result i32) (call $error (call $input)) (i32.const 7))
    (func (export "crash") (unreachable))
    (func (export "spin") (loop $for_ever (br $for_ever))))"""


@extism.host_fn()
def shout(text: str) -> str:
    return text.upper()


@extism.host_fn(signature=([], [extism.ValType.I64]))
def context(plugin, _inputs, outputs):
    # Blocks that make the memory grow: the package asks for its address each time.
    for size in 1, 100_000, 1_000_000:
        plugin.alloc(size)
    plugin.return_string(outputs[0], repr(plugin.host_context()))


def new(**settings):
    return extism.Plugin(PLUGIN, functions=[shout, context], **settings)


class Suite(unittest.TestCase):
    def test_the_library_is_ours(self):
        self.assertIn("wapc", extism.extism_version())

    def test_bytes_go_through(self):
        plugin = new()
        for data in b"", b"a\0b", bytes(range(256)) * 4096:
            self.assertEqual(bytes(plugin.call("echo", data)), data)

    def test_functions_of_the_host_answer(self):
        plugin = new()
        for _ in range(100):
            self.assertEqual(bytes(plugin.call("shouted", "grüße")), "GRÜSSE".encode())
        self.assertEqual(bytes(plugin.call("context", b"", host_context=("me", 5))), b"('me', 5)")
        self.assertEqual(bytes(plugin.call("context", b"")), b"None")

    def test_errors_are_those_of_the_plugin(self):
        plugin = new()
        for name, text in ("fail", "no\tgood"), ("none", "Function not found: none"), ("crash", "unreachable"):
            with self.assertRaises(extism.Error) as raised:
                plugin.call(name, "no\tgood")
            self.assertIn(text, str(raised.exception))
        self.assertEqual(bytes(plugin.call("echo", b"still here")), b"still here")

    def test_a_plugin_that_cannot_be_made_says_why(self):
        with self.assertRaises(extism.Error) as raised:
            extism.Plugin(PLUGIN, functions=[shout])
        self.assertIn("unknown import: `extism:host/user::context` has not been defined", str(raised.exception))
        for nonsense in b"nonsense", "{}", {"wasm": []}, {"wasm": [{"path": "/does/not/exist"}]}:
            with self.assertRaises(extism.Error):
                extism.Plugin(nonsense)

    def test_configuration(self):
        plugin = new(config={"key": "value"})
        self.assertEqual(bytes(plugin.call("setting", "key")), b"value")
        self.assertEqual(bytes(plugin.call("setting", "other")), b"")

    def test_compiled_plugins_and_their_ids(self):
        compiled = CompiledPlugin(PLUGIN, functions=[shout, context])
        plugins = [extism.Plugin(compiled) for _ in range(3)]
        self.assertEqual(len({plugin.id for plugin in plugins}), 3)
        self.assertTrue(plugins[0].function_exists("echo"))
        self.assertFalse(plugins[0].function_exists("none"))
        del compiled
        for plugin in plugins:
            self.assertEqual(bytes(plugin.call("shouted", "x")), b"X")

    def test_cancelling(self):
        plugin = new()
        handle = plugin.cancel_handle()
        handle.cancel()
        self.assertEqual(bytes(plugin.call("echo", b"x")), b"x")
        ended = threading.Event()

        def cancel():
            # It has no effect before the call has begun.
            while not ended.wait(0.01):
                handle.cancel()

        canceller = threading.Thread(target=cancel)
        canceller.start()
        try:
            with self.assertRaises(extism.Error) as raised:
                plugin.call("spin", b"")
        finally:
            ended.set()
            canceller.join()
        self.assertIn("timeout", str(raised.exception))

    def test_threads_wait_for_each_other(self):
        plugin = new()
        threads = [threading.Thread(target=lambda: [plugin.call("shouted", "x") for _ in range(50)]) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(bytes(plugin.call("echo", b"x")), b"x")


if __name__ == "__main__":
    unittest.main()
