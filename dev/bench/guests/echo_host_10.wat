;; Ten host calls (bind/ns/op), the first with the payload, each further one with the answer
;; before: answers with the last answer, which must fit where the payload was.
(module
  (import "wapc" "__guest_request" (func $guest_request (param i32 i32)))
  (import "wapc" "__guest_response" (func $guest_response (param i32 i32)))
  (import "wapc" "__host_call"
    (func $host_call (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "wapc" "__host_response_len" (func $host_response_len (result i32)))
  (import "wapc" "__host_response" (func $host_response (param i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "bindnsop")

  ;; From 8: the operation's name, then the message.
  (func (export "__guest_call") (param $op_len i32) (param $len i32) (result i32)
    (local $msg i32)
    (local $left i32)
    (local.set $msg (i32.add (local.get $op_len) (i32.const 8)))
    (local.set $left (i32.const 10))
    (call $guest_request (i32.const 8) (local.get $msg))
    (loop $again
      (if
        (i32.eqz
          (call $host_call
            (i32.const 0) (i32.const 4)
            (i32.const 4) (i32.const 2)
            (i32.const 6) (i32.const 2)
            (local.get $msg) (local.get $len)))
        (then (unreachable)))
      (local.set $len (call $host_response_len))
      (call $host_response (local.get $msg))
      (br_if $again
        (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))
    (call $guest_response (local.get $msg) (local.get $len))
    (i32.const 1)))
