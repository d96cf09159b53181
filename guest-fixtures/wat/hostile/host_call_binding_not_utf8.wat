;; A host call whose binding is not UTF-8.
;; expect: protocol not-utf8
(module
  (import "wapc" "__guest_response" (func $guest_response (param i32 i32)))
  (import "wapc" "__host_call"
    (func $host_call (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "goodbindnsoppingfine\c0\80")

  (func (export "__guest_call") (param $op_len i32) (param $msg_len i32) (result i32)
    (if (i32.eq (local.get $op_len) (i32.const 4))
      (then
        (call $guest_response (i32.const 0) (i32.const 4))
        (return (i32.const 1))))
    (drop
      (call $host_call
        (i32.const 20) (i32.const 2)
        (i32.const 8) (i32.const 2)
        (i32.const 10) (i32.const 2)
        (i32.const 12) (i32.const 4)))
    (call $guest_response (i32.const 16) (i32.const 4))
    (i32.const 1)))
