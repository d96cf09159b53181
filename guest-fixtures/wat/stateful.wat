;; Keeps the payload of each call, and answers the payload of the call before it (the first answers nothing; payloads up to 32 KiB).
;; Tells whether two calls met the same instance, and whether a swap or a trap gave a fresh one; the operation `trap` keeps its payload, then traps.
(module
  (import "wapc" "__guest_request" (func $guest_request (param i32 i32)))
  (import "wapc" "__guest_response" (func $guest_response (param i32 i32)))
  (memory (export "memory") 2)
  (global $kept_ptr (mut i32) (i32.const 0))
  (global $kept_len (mut i32) (i32.const 0))
  (global $next (mut i32) (i32.const 0))

  ;; The operation's name is received at 98304; the payloads take turns at 0 and 32768.
  (func (export "__guest_call") (param $op_len i32) (param $msg_len i32) (result i32)
    (call $guest_request (i32.const 98304) (global.get $next))
    (call $guest_response (global.get $kept_ptr) (global.get $kept_len))
    (global.set $kept_ptr (global.get $next))
    (global.set $kept_len (local.get $msg_len))
    (global.set $next (i32.xor (global.get $next) (i32.const 32768)))
    ;; "trap"
    (if
      (i32.and
        (i32.eq (local.get $op_len) (i32.const 4))
        (i32.eq (i32.load (i32.const 98304)) (i32.const 0x70617274)))
      (then (unreachable)))
    (i32.const 1)))
