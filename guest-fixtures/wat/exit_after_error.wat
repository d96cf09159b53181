;; Responds, reports an error, and then leaves by `proc_exit(0)`.
;; expect: guest-error done
(module
  (import "wapc" "__guest_error" (func $fail (param i32 i32)))
  (import "wapc" "__guest_response" (func $respond (param i32 i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "done")
  (func (export "__guest_call") (param i32 i32) (result i32)
    (call $respond (i32.const 0) (i32.const 4))
    (call $fail (i32.const 0) (i32.const 4))
    (call $exit (i32.const 0))
    (unreachable)))
