;; Leaves by `proc_exit(0)` without a response.
;; expect: exit 0
(module
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "done")
  (func (export "__guest_call") (param i32 i32) (result i32)
    (call $exit (i32.const 0))
    (unreachable)))
