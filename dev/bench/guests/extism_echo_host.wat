;; Sends the input to the host function `op` and answers with what it answered.
(module
  (import "extism:host/env" "input_offset" (func $input_offset (result i64)))
  (import "extism:host/env" "length" (func $length (param i64) (result i64)))
  (import "extism:host/env" "output_set" (func $output_set (param i64 i64)))
  (import "extism:host/user" "op" (func $op (param i64) (result i64)))
  (func (export "echo") (result i32)
    (local $answer i64)
    (local.set $answer (call $op (call $input_offset)))
    (call $output_set (local.get $answer) (call $length (local.get $answer)))
    (i32.const 0)))
