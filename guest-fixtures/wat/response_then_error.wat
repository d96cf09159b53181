;; Sets a response, then an error, and returns 0: the error counts.
;; expect: guest-error boom
(module
  (import "wapc" "__guest_response" (func $guest_response (param i32 i32)))
  (import "wapc" "__guest_error" (func $guest_error (param i32 i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "fineboom")

  (func (export "__guest_call") (param $op_len i32) (param $msg_len i32) (result i32)
    (call $guest_response (i32.const 0) (i32.const 4))
    (call $guest_error (i32.const 4) (i32.const 4))
    (i32.const 0)))
