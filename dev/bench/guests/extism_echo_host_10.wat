;; Sends the input to the host function `op` and each answer again, ten times in all; answers
;; with the last answer.
(module
  (import "extism:host/env" "input_offset" (func $input_offset (result i64)))
  (import "extism:host/env" "length" (func $length (param i64) (result i64)))
  (import "extism:host/env" "output_set" (func $output_set (param i64 i64)))
  (import "extism:host/user" "op" (func $op (param i64) (result i64)))
  (func (export "echo") (result i32)
    (local $answer i64)
    (local $left i32)
    (local.set $answer (call $input_offset))
    (local.set $left (i32.const 10))
    (loop $again
      (local.set $answer (call $op (local.get $answer)))
      (br_if $again
        (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))
    (call $output_set (local.get $answer) (call $length (local.get $answer)))
    (i32.const 0)))
