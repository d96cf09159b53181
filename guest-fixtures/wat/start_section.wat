;; Its start section calls the host (bind/ns/op, "start"), before the instance exists; every operation answers what the host said then.
;; expect: ok start
(module
  (import "wapc" "__guest_response" (func $guest_response (param i32 i32)))
  (import "wapc" "__guest_error" (func $guest_error (param i32 i32)))
  (import "wapc" "__host_call"
    (func $host_call (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "wapc" "__host_response_len" (func $host_response_len (result i32)))
  (import "wapc" "__host_response" (func $host_response (param i32)))
  (import "wapc" "__host_error_len" (func $host_error_len (result i32)))
  (import "wapc" "__host_error" (func $host_error (param i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "bindnsopstart")
  (global $answered (mut i32) (i32.const 0))
  (global $len (mut i32) (i32.const 0))

  (start $ask_host)
  (func $ask_host
    (global.set $answered
      (call $host_call
        (i32.const 0) (i32.const 4)
        (i32.const 4) (i32.const 2)
        (i32.const 6) (i32.const 2)
        (i32.const 8) (i32.const 5)))
    (if (global.get $answered)
      (then
        (global.set $len (call $host_response_len))
        (call $host_response (i32.const 64)))
      (else
        (global.set $len (call $host_error_len))
        (call $host_error (i32.const 64)))))

  (func (export "__guest_call") (param $op_len i32) (param $msg_len i32) (result i32)
    (if (global.get $answered)
      (then (call $guest_response (i32.const 64) (global.get $len)))
      (else (call $guest_error (i32.const 64) (global.get $len))))
    (global.get $answered)))
