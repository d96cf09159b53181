;; Compute-bound, for benchmarks: a tight loop over bytes; payload: the number of bytes to visit (u32 LE); answers a checksum (u64 LE).
(module
  (import "wapc" "__guest_request" (func $guest_request (param i32 i32)))
  (import "wapc" "__guest_response" (func $guest_response (param i32 i32)))
  (memory (export "memory") 1)

  ;; The message is received at 0, the operation's name at 16; the loop goes round the 4 KiB at 4096.
  (func (export "__guest_call") (param $op_len i32) (param $msg_len i32) (result i32)
    (local $left i32)
    (local $at i32)
    (local $byte i32)
    (local $hash i64)
    (if (i32.ne (local.get $msg_len) (i32.const 4))
      (then (unreachable)))
    (call $guest_request (i32.const 16) (i32.const 0))
    (memory.fill (i32.const 4096) (i32.const 0) (i32.const 4096))
    (local.set $left (i32.load (i32.const 0)))
    (local.set $hash (i64.const 0xcbf29ce484222325))
    (block $done
      (loop $next
        (br_if $done (i32.eqz (local.get $left)))
        (local.set $byte
          (i32.add
            (i32.load8_u offset=4096 (local.get $at))
            (i32.and (local.get $left) (i32.const 0xff))))
        (i32.store8 offset=4096 (local.get $at) (local.get $byte))
        ;; FNV-1a over the sums
        (local.set $hash
          (i64.mul
            (i64.xor (local.get $hash) (i64.extend_i32_u (local.get $byte)))
            (i64.const 0x100000001b3)))
        (local.set $at (i32.and (i32.add (local.get $at) (i32.const 1)) (i32.const 4095)))
        (local.set $left (i32.sub (local.get $left) (i32.const 1)))
        (br $next)))
    (i64.store (i32.const 0) (local.get $hash))
    (call $guest_response (i32.const 0) (i32.const 8))
    (i32.const 1)))
