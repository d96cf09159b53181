;; Compute-bound, for benchmarks: loads and stores at random in 1 MiB; payload: how many of each (u32 LE); answers a checksum (u64 LE).
(module
  (import "wapc" "__guest_request" (func $guest_request (param i32 i32)))
  (import "wapc" "__guest_response" (func $guest_response (param i32 i32)))
  (memory (export "memory") 17)

  ;; The message is received at 0, the operation's name at 16; the stores fall into the 1 MiB at 65536.
  (func (export "__guest_call") (param $op_len i32) (param $msg_len i32) (result i32)
    (local $left i32)
    (local $random i64)
    (local $sum i64)
    (if (i32.ne (local.get $msg_len) (i32.const 4))
      (then (unreachable)))
    (call $guest_request (i32.const 16) (i32.const 0))
    (memory.fill (i32.const 65536) (i32.const 0) (i32.const 0x100000))
    (local.set $left (i32.load (i32.const 0)))
    (local.set $random (i64.const 0x9e3779b97f4a7c15))
    (block $done
      (loop $next
        (br_if $done (i32.eqz (local.get $left)))
        ;; xorshift64
        (local.set $random
          (i64.xor (local.get $random) (i64.shl (local.get $random) (i64.const 13))))
        (local.set $random
          (i64.xor (local.get $random) (i64.shr_u (local.get $random) (i64.const 7))))
        (local.set $random
          (i64.xor (local.get $random) (i64.shl (local.get $random) (i64.const 17))))
        ;; two addresses, multiples of 8 below 1 MiB, from different bits
        (local.set $sum
          (i64.add
            (i64.rotl (local.get $sum) (i64.const 1))
            (i64.load offset=65536
              (i32.and (i32.wrap_i64 (local.get $random)) (i32.const 0xffff8)))))
        (i64.store offset=65536
          (i32.and
            (i32.wrap_i64 (i64.shr_u (local.get $random) (i64.const 32)))
            (i32.const 0xffff8))
          (i64.xor (local.get $sum) (local.get $random)))
        (local.set $left (i32.sub (local.get $left) (i32.const 1)))
        (br $next)))
    (i64.store (i32.const 0) (local.get $sum))
    (call $guest_response (i32.const 0) (i32.const 8))
    (i32.const 1)))
