;; Sleeps for an hour in its _start.
;; expect: limit fuel-or-deadline
(module
  (import "wapc" "__guest_response" (func $guest_response (param i32 i32)))
  (import "wasi_snapshot_preview1" "poll_oneoff"
    (func $poll_oneoff (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "good")

  (func $begin (export "_start")
    (i32.store (i32.const 80) (i32.const 1)) ;; the monotonic clock
    (i64.store (i32.const 88) (i64.const 3_600_000_000_000)) ;; ns
    (drop
      (call $poll_oneoff (i32.const 64) (i32.const 256) (i32.const 1) (i32.const 320))))

  (func (export "__guest_call") (param $op_len i32) (param $msg_len i32) (result i32)
    (call $guest_response (i32.const 0) (i32.const 4))
    (i32.const 1)))
