;; Imports __guest_request as a memory.
;; expect: module import-type wapc.__guest_request
(module
  (import "wapc" "__guest_response" (func $guest_response (param i32 i32)))
  (import "wapc" "__guest_request" (memory 1))
  (export "memory" (memory 0))

  (func (export "__guest_call") (param $op_len i32) (param $msg_len i32) (result i32)
    (call $guest_response (i32.const 0) (i32.const 4))
    (i32.const 1)))
