;; A host call whose payload is not UTF-8, which is nothing wrong: payloads are bytes. Traps if they come back changed.
;; expect: ok fine
(module
  (import "wapc" "__guest_response" (func $guest_response (param i32 i32)))
  (import "wapc" "__host_call"
    (func $host_call (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "wapc" "__host_response" (func $host_response (param i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "goodbindnsop\c0\80fine")

  (func (export "__guest_call") (param $op_len i32) (param $msg_len i32) (result i32)
    (if (i32.eq (local.get $op_len) (i32.const 4))
      (then
        (call $guest_response (i32.const 0) (i32.const 4))
        (return (i32.const 1))))
    (drop
      (call $host_call
        (i32.const 4) (i32.const 4)
        (i32.const 8) (i32.const 2)
        (i32.const 10) (i32.const 2)
        (i32.const 12) (i32.const 2)))
    (call $host_response (i32.const 64))
    (if (i32.ne (i32.load16_u (i32.const 64)) (i32.const 0x80c0))
      (then (unreachable)))
    (call $guest_response (i32.const 14) (i32.const 4))
    (i32.const 1)))
