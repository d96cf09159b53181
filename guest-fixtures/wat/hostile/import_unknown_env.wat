;; Imports env.random, which no compiler wants and waPC does not give.
;; expect: module unknown-import env.random
(module
  (import "wapc" "__guest_response" (func $guest_response (param i32 i32)))
  (import "env" "random" (func (result f64)))
  (memory (export "memory") 1)
  (data (i32.const 0) "good")

  (func (export "__guest_call") (param $op_len i32) (param $msg_len i32) (result i32)
    (call $guest_response (i32.const 0) (i32.const 4))
    (i32.const 1)))
