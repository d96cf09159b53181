;; A WASI command that copies its input to its output, at most 100,000 bytes at a time, and exits with the
;; errno of a read or write that fails.
(module
  (import "wasi_snapshot_preview1" "fd_read"
    (func $fd_read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write"
    (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (memory (export "memory") 2)

  (func $check (param $errno i32)
    (if (local.get $errno) (then (call $proc_exit (local.get $errno)))))

  (func (export "_start")
    (i32.store (i32.const 0) (i32.const 16))
    (loop $more
      (i32.store (i32.const 4) (i32.const 100000))
      (call $check (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 4)))
      (call $check (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
      (br_if $more (i32.load (i32.const 4))))))
