;; Its table wants 10,000,000 elements from the beginning.
;; expect: limit table
;; needs: a table limit below 10,000,000
(module
  (import "wapc" "__guest_response" (func $guest_response (param i32 i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "good")
  (table 10000000 funcref)

  (func (export "__guest_call") (param $op_len i32) (param $msg_len i32) (result i32)
    (call $guest_response (i32.const 0) (i32.const 4))
    (i32.const 1)))
