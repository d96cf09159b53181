;; Has two memories, the second exported as `memory`: the export counts, not the index.
;; expect: ok two
(module
  (import "wapc" "__guest_response" (func $guest_response (param i32 i32)))
  (memory 1)
  (memory (export "memory") 1)
  (data (memory 0) (i32.const 0) "one")
  (data (memory 1) (i32.const 0) "two")

  (func (export "__guest_call") (param $op_len i32) (param $msg_len i32) (result i32)
    (call $guest_response (i32.const 0) (i32.const 3))
    (i32.const 1)))
