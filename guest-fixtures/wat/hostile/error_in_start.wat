;; Sets a guest error in wapc_init, then returns 0 without one: what a start function says answers no call.
;; expect: protocol no-error
(module
  (import "wapc" "__guest_response" (func $guest_response (param i32 i32)))
  (import "wapc" "__guest_error" (func $guest_error (param i32 i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "goodearly")

  (func (export "__guest_call") (param $op_len i32) (param $msg_len i32) (result i32)
    (if (i32.eq (local.get $op_len) (i32.const 4))
      (then
        (call $guest_response (i32.const 0) (i32.const 4))
        (return (i32.const 1))))
    (i32.const 0))

  (func (export "wapc_init")
    (call $guest_error (i32.const 4) (i32.const 5))))
