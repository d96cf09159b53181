;; One host call (bind/ns/op, the payload) for each call: answers with what the host answered.
(module
  (import "wapc" "__guest_request" (func $guest_request (param i32 i32)))
  (import "wapc" "__guest_response" (func $guest_response (param i32 i32)))
  (import "wapc" "__guest_error" (func $guest_error (param i32 i32)))
  (import "wapc" "__host_call"
    (func $host_call (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "wapc" "__host_response_len" (func $host_response_len (result i32)))
  (import "wapc" "__host_response" (func $host_response (param i32)))
  (import "wapc" "__host_error_len" (func $host_error_len (result i32)))
  (import "wapc" "__host_error" (func $host_error (param i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "bindnsop")

  ;; From 8: the operation's name, then the message, over which the host's answer is written.
  (func (export "__guest_call") (param $op_len i32) (param $msg_len i32) (result i32)
    (local $msg i32)
    (local $len i32)
    (local.set $msg (i32.add (local.get $op_len) (i32.const 8)))
    (call $reserve (i32.add (local.get $msg) (local.get $msg_len)))
    (call $guest_request (i32.const 8) (local.get $msg))
    (if
      (call $host_call
        (i32.const 0) (i32.const 4)
        (i32.const 4) (i32.const 2)
        (i32.const 6) (i32.const 2)
        (local.get $msg) (local.get $msg_len))
      (then
        (local.set $len (call $host_response_len))
        (call $reserve (i32.add (local.get $msg) (local.get $len)))
        (call $host_response (local.get $msg))
        (call $guest_response (local.get $msg) (local.get $len))
        (return (i32.const 1))))
    (local.set $len (call $host_error_len))
    (call $reserve (i32.add (local.get $msg) (local.get $len)))
    (call $host_error (local.get $msg))
    (call $guest_error (local.get $msg) (local.get $len))
    (i32.const 0))

  ;; Grows the memory until it holds $end bytes.
  (func $reserve (param $end i32)
    (local $missing i32)
    (local.set $missing
      (i32.sub
        (i32.shr_u (i32.add (local.get $end) (i32.const 65535)) (i32.const 16))
        (memory.size)))
    (if (i32.gt_s (local.get $missing) (i32.const 0))
      (then
        (if (i32.eq (memory.grow (local.get $missing)) (i32.const -1))
          (then (unreachable)))))))
