;; A WASI command. Its payload's first byte says what it does: `f` fails, `t` traps, `l` loops; all else
;; is echoed.
(module
  (import "wasi_snapshot_preview1" "fd_read"
    (func $fd_read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write"
    (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 2)
  (data (i32.const 512) "failed")
  (func $write (param $fd i32) (param $at i32) (param $bytes i32)
    (i32.store (i32.const 0) (local.get $at))
    (i32.store (i32.const 4) (local.get $bytes))
    (if (call $fd_write (local.get $fd) (i32.const 0) (i32.const 1) (i32.const 8))
      (then (unreachable))))
  (func (export "_start")
    (i32.store (i32.const 0) (i32.const 1024))
    (i32.store (i32.const 4) (i32.const 65536))
    (if (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8))
      (then (unreachable)))
    (if (i32.eq (i32.load8_u (i32.const 1024)) (i32.const 102))
      (then
        (call $write (i32.const 2) (i32.const 512) (i32.const 6))
        (call $exit (i32.const 3))))
    (if (i32.eq (i32.load8_u (i32.const 1024)) (i32.const 116)) (then (unreachable)))
    (if (i32.eq (i32.load8_u (i32.const 1024)) (i32.const 108)) (then (loop (br 0))))
    (call $write (i32.const 1) (i32.const 1024) (i32.load (i32.const 8)))))
