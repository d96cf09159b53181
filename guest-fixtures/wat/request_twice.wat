;; Asks for its request twice, at two places, and echoes the second copy (payloads up to 32 KiB).
;; expect: ok payload
(module
  (import "wapc" "__guest_request" (func $guest_request (param i32 i32)))
  (import "wapc" "__guest_response" (func $guest_response (param i32 i32)))
  (memory (export "memory") 1)

  (func (export "__guest_call") (param $op_len i32) (param $msg_len i32) (result i32)
    (call $guest_request (i32.const 0) (local.get $op_len))
    (call $guest_request (i32.const 32768) (i32.add (local.get $op_len) (i32.const 32768)))
    (call $guest_response
      (i32.add (local.get $op_len) (i32.const 32768))
      (local.get $msg_len))
    (i32.const 1)))
