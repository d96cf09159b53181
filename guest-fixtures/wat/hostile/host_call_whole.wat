;; A host call whose four parts are all the whole memory: 64 KiB of NULs and text as binding, namespace, operation and payload.
;; expect: ok fine
(module
  (import "wapc" "__guest_response" (func $guest_response (param i32 i32)))
  (import "wapc" "__host_call"
    (func $host_call (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "goodfine")

  (func (export "__guest_call") (param $op_len i32) (param $msg_len i32) (result i32)
    (if (i32.eq (local.get $op_len) (i32.const 4))
      (then
        (call $guest_response (i32.const 0) (i32.const 4))
        (return (i32.const 1))))
    (drop
      (call $host_call
        (i32.const 0) (i32.const 65536)
        (i32.const 0) (i32.const 65536)
        (i32.const 0) (i32.const 65536)
        (i32.const 0) (i32.const 65536)))
    (call $guest_response (i32.const 4) (i32.const 4))
    (i32.const 1)))
