;; Compute-bound, for benchmarks: a function that calls itself twice; payload: N (u32 LE); answers the Nth Fibonacci number (u64 LE).
(module
  (import "wapc" "__guest_request" (func $guest_request (param i32 i32)))
  (import "wapc" "__guest_response" (func $guest_response (param i32 i32)))
  (memory (export "memory") 1)

  (func $fib (param $n i32) (result i64)
    (if (i32.lt_u (local.get $n) (i32.const 2))
      (then (return (i64.extend_i32_u (local.get $n)))))
    (i64.add
      (call $fib (i32.sub (local.get $n) (i32.const 1)))
      (call $fib (i32.sub (local.get $n) (i32.const 2)))))

  ;; The message is received at 0, the operation's name at 16.
  (func (export "__guest_call") (param $op_len i32) (param $msg_len i32) (result i32)
    (if (i32.ne (local.get $msg_len) (i32.const 4))
      (then (unreachable)))
    (call $guest_request (i32.const 16) (i32.const 0))
    (i64.store (i32.const 0) (call $fib (i32.load (i32.const 0))))
    (call $guest_response (i32.const 0) (i32.const 8))
    (i32.const 1)))
