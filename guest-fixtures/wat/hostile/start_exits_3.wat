;; Its _start ends in proc_exit(3): only the code 0 is success.
;; expect: exit 3
(module
  (import "wapc" "__guest_response" (func $guest_response (param i32 i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "good")

  (func $begin (export "_start")
    (call $proc_exit (i32.const 3))
    (unreachable))

  (func (export "__guest_call") (param $op_len i32) (param $msg_len i32) (result i32)
    (call $guest_response (i32.const 0) (i32.const 4))
    (i32.const 1)))
