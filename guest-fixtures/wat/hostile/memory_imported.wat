;; Imports the memory that it exports: the host has none to give.
;; expect: module unknown-import env.memory
(module
  (import "wapc" "__guest_response" (func $guest_response (param i32 i32)))
  (import "env" "memory" (memory 1))
  (export "memory" (memory 0))
  (data (i32.const 0) "good")

  (func (export "__guest_call") (param $op_len i32) (param $msg_len i32) (result i32)
    (call $guest_response (i32.const 0) (i32.const 4))
    (i32.const 1)))
