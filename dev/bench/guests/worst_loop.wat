;; Adds up 64 KiB, one byte in each turn: the loop on which interruption costs most. The payload is
;; the number of rounds, 32 bits; the response is the sum.
(module
  (import "wapc" "__guest_request" (func $request (param i32 i32)))
  (import "wapc" "__guest_response" (func $response (param i32 i32)))
  (memory (export "memory") 3)

  (func (export "__guest_call") (param $op_len i32) (param $msg_len i32) (result i32)
    (local $rounds i32) (local $at i32) (local $sum i32)
    (call $request (i32.const 0x10100) (i32.const 0x10000))
    (local.set $rounds (i32.load (i32.const 0x10000)))
    (block $done
      (loop $round
        (br_if $done (i32.eqz (local.get $rounds)))
        (local.set $at (i32.const 0))
        (loop $byte
          (local.set $sum (i32.add (local.get $sum) (i32.load8_u (local.get $at))))
          (local.set $at (i32.add (local.get $at) (i32.const 1)))
          (br_if $byte (i32.lt_u (local.get $at) (i32.const 0x10000))))
        (local.set $rounds (i32.sub (local.get $rounds) (i32.const 1)))
        (br $round)))
    (i32.store (i32.const 0x10000) (local.get $sum))
    (call $response (i32.const 0x10000) (i32.const 4))
    (i32.const 1)))
