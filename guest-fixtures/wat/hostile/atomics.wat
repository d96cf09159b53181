;; It uses an atomic instruction, of the threads proposal, on an ordinary memory.
;; expect: module invalid
(module
  (import "wapc" "__guest_response" (func $guest_response (param i32 i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "good")

  (func (export "__guest_call") (param $op_len i32) (param $msg_len i32) (result i32)
    (drop (i32.atomic.rmw.add (i32.const 16) (i32.const 1)))
    (call $guest_response (i32.const 0) (i32.const 4))
    (i32.const 1)))
