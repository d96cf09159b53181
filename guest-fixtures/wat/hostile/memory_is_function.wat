;; Exports a function as `memory`.
;; expect: module memory-not-a-memory
(module
  (import "wapc" "__guest_response" (func $guest_response (param i32 i32)))
  (func (export "memory"))

  (func (export "__guest_call") (param $op_len i32) (param $msg_len i32) (result i32)
    (call $guest_response (i32.const 0) (i32.const 4))
    (i32.const 1)))
