;; Imports __guest_response with 64-bit numbers.
;; expect: module import-type wapc.__guest_response
(module
  (import "wapc" "__guest_response" (func (param i64 i64)))
  (memory (export "memory") 1)
  (data (i32.const 0) "good")

  (func (export "__guest_call") (param i32 i32) (result i32)
    (i32.const 0)))
