;; Waits, or works for long, in functions of WASI. The operation's length says in which; the response
;; is the number of bytes that the function has reported, if it reports one.
(module
  (import "wapc" "__guest_request" (func $request (param i32 i32)))
  (import "wapc" "__guest_response" (func $respond (param i32 i32)))
  (import "wasi_snapshot_preview1" "poll_oneoff"
    (func $poll (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_read"
    (func $read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_readdir"
    (func $readdir (param i32 i32 i32 i64 i32) (result i32)))
  (memory (export "memory") 1100)

  ;; A clock is subscribed to: its tag, the monotonic clock, and the nanoseconds.
  (func $sleep (param $ms i64)
    (i32.store8 (i32.const 1032) (i32.const 0))
    (i32.store (i32.const 1040) (i32.const 1))
    (i64.store (i32.const 1048) (i64.mul (local.get $ms) (i64.const 1000000)))
    (drop (call $poll (i32.const 1024) (i32.const 2048) (i32.const 1) (i32.const 2100))))

  (func (export "__guest_call") (param $operation i32) (param $length i32) (result i32)
    (call $request (i32.const 0) (i32.const 64))
    (if (i32.eq (local.get $operation) (i32.const 5)) ;; sleep
      (then (call $sleep (i64.load32_u (i32.const 64)))))
    (if (i32.eq (local.get $operation) (i32.const 6)) ;; random
      (then (loop $again
        (drop (call $random (i32.const 65536) (i32.const 67108864)))
        (br $again))))
    (if (i32.eq (local.get $operation) (i32.const 4)) ;; read
      (then
        (i32.store (i32.const 3000) (i32.const 3100))
        (i32.store (i32.const 3004) (i32.const 1))
        (drop (call $read (i32.const 0) (i32.const 3000) (i32.const 1) (i32.const 3008)))))
    (if (i32.eq (local.get $operation) (i32.const 7)) ;; readdir
      (then (drop (call $readdir
        (i32.const 3) (i32.const 65536) (i32.const 67108864) (i64.const 0) (i32.const 3008)))))
    (call $respond (i32.const 3008) (i32.const 4))
    (i32.const 1)))
