;; Asks for its request in wapc_init, where there is none.
;; expect: protocol no-call
(module
  (import "wapc" "__guest_request" (func $guest_request (param i32 i32)))
  (import "wapc" "__guest_response" (func $guest_response (param i32 i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "goodfine")

  (func (export "__guest_call") (param $op_len i32) (param $msg_len i32) (result i32)
    (if (i32.eq (local.get $op_len) (i32.const 4))
      (then
        (call $guest_response (i32.const 0) (i32.const 4))
        (return (i32.const 1))))
    (call $guest_response (i32.const 4) (i32.const 4))
    (i32.const 1))

  (func (export "wapc_init")
    (call $guest_request (i32.const 64) (i32.const 128))))
