;; Sets the guest error "boom", then traps: the trap should carry that text.
;; expect: trap unreachable
(module
  (import "wapc" "__guest_error" (func $guest_error (param i32 i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "boom")

  (func (export "__guest_call") (param $op_len i32) (param $msg_len i32) (result i32)
    (call $guest_error (i32.const 0) (i32.const 4))
    (unreachable)))
