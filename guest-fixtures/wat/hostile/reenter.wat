;; Calls the host (bind/ns/reenter, its payload), whose callback calls this very host again; answers what came of it.
;; expect: guest-error
;; needs: a callback that calls the host again for the operation `reenter` and hands on the error it gets; a payload up to 1 KiB
;; differs: the error names the host by its number
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
  (data (i32.const 0) "goodbindnsreenter")

  (func (export "__guest_call") (param $op_len i32) (param $msg_len i32) (result i32)
    (if (i32.eq (local.get $op_len) (i32.const 4))
      (then
        (call $guest_response (i32.const 0) (i32.const 4))
        (return (i32.const 1))))
    (call $guest_request (i32.const 64) (i32.const 128))
    (if
      (call $host_call
        (i32.const 4) (i32.const 4)
        (i32.const 8) (i32.const 2)
        (i32.const 10) (i32.const 7)
        (i32.const 128) (local.get $msg_len))
      (then
        (call $host_response (i32.const 128))
        (call $guest_response (i32.const 128) (call $host_response_len))
        (return (i32.const 1))))
    (call $host_error (i32.const 128))
    (call $guest_error (i32.const 128) (call $host_error_len))
    (i32.const 0)))
