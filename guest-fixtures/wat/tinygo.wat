;; Shaped like a TinyGo guest: a WASI command whose _start ends in proc_exit(0); hello and echo work only after it.
(module
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "clock_time_get" (func $clock_time_get (param i32 i64 i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_sizes_get" (func $args_sizes_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_get" (func $args_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "random_get" (func $random_get (param i32 i32) (result i32)))
  (import "wapc" "__guest_request" (func $guest_request (param i32 i32)))
  (import "wapc" "__guest_response" (func $guest_response (param i32 i32)))
  (import "wapc" "__guest_error" (func $guest_error (param i32 i32)))
  (memory (export "memory") 2)
  (data (i32.const 0) "Hello, ")
  (data (i32.const 16) "unknown operation")
  (data (i32.const 48) "the runtime has not started")
  (global $started (mut i32) (i32.const 0))

  (func (export "_start")
    (drop (call $random_get (i32.const 80) (i32.const 8)))
    (drop (call $clock_time_get (i32.const 1) (i64.const 0) (i32.const 88)))
    (global.set $started (i32.const 1))
    (call $proc_exit (i32.const 0))
    (unreachable))

  ;; From 128: the operation's name, seven bytes for "Hello, ", the message, one byte for ".".
  (func (export "__guest_call") (param $op_len i32) (param $msg_len i32) (result i32)
    (local $msg i32)
    (local $missing i32)
    (if (i32.eqz (global.get $started))
      (then
        (call $guest_error (i32.const 48) (i32.const 27))
        (return (i32.const 0))))
    (local.set $msg (i32.add (local.get $op_len) (i32.const 135)))
    (local.set $missing
      (i32.sub
        (i32.shr_u
          (i32.add (i32.add (local.get $msg) (local.get $msg_len)) (i32.const 65536))
          (i32.const 16))
        (memory.size)))
    (if (i32.gt_s (local.get $missing) (i32.const 0))
      (then
        (if (i32.eq (memory.grow (local.get $missing)) (i32.const -1))
          (then (unreachable)))))
    (call $guest_request (i32.const 128) (local.get $msg))
    ;; "echo"
    (if
      (i32.and
        (i32.eq (local.get $op_len) (i32.const 4))
        (i32.eq (i32.load (i32.const 128)) (i32.const 0x6f686365)))
      (then
        (call $guest_response (local.get $msg) (local.get $msg_len))
        (return (i32.const 1))))
    ;; "hell", "o"
    (if
      (i32.and
        (i32.eq (local.get $op_len) (i32.const 5))
        (i32.and
          (i32.eq (i32.load (i32.const 128)) (i32.const 0x6c6c6568))
          (i32.eq (i32.load8_u (i32.const 132)) (i32.const 0x6f))))
      (then
        (i32.store (i32.sub (local.get $msg) (i32.const 7)) (i32.load (i32.const 0)))
        (i32.store (i32.sub (local.get $msg) (i32.const 4)) (i32.load (i32.const 3)))
        (i32.store8 (i32.add (local.get $msg) (local.get $msg_len)) (i32.const 46))
        (call $guest_response
          (i32.sub (local.get $msg) (i32.const 7))
          (i32.add (local.get $msg_len) (i32.const 8)))
        (return (i32.const 1))))
    (call $guest_error (i32.const 16) (i32.const 17))
    (i32.const 0)))
