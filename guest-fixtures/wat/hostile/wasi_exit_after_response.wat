;; Sets a response, then calls proc_exit(0): that is an answer, and the instance is gone.
;; expect: ok good
(module
  (import "wapc" "__guest_response" (func $guest_response (param i32 i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "good")

  (func (export "__guest_call") (param $op_len i32) (param $msg_len i32) (result i32)
    (if (i32.eq (local.get $op_len) (i32.const 4))
      (then
        (call $guest_response (i32.const 0) (i32.const 4))
        (return (i32.const 1))))
    (call $guest_response (i32.const 0) (i32.const 4))
    (call $proc_exit (i32.const 0))
    (unreachable)))
