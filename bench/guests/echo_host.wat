;; Sends the payload to `bind`/`ns`/`op` and answers with what the host answered.
(module
  (import "wapc" "__guest_request" (func $guest_request (param i32 i32)))
  (import "wapc" "__guest_response" (func $guest_response (param i32 i32)))
  (import "wapc" "__host_call"
    (func $host_call (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "wapc" "__host_response_len" (func $host_response_len (result i32)))
  (import "wapc" "__host_response" (func $host_response (param i32)))
  (memory (export "memory") 2)
  (data (i32.const 0) "bindnsop")
  (func (export "__guest_call") (param $op_len i32) (param $msg_len i32) (result i32)
    (call $guest_request (i32.const 1024) (i32.const 2048))
    (if (i32.eqz
          (call $host_call
            (i32.const 0) (i32.const 4)
            (i32.const 4) (i32.const 2)
            (i32.const 6) (i32.const 2)
            (i32.const 2048) (local.get $msg_len)))
      (then (return (i32.const 0))))
    (call $host_response (i32.const 65536))
    (call $guest_response (i32.const 65536) (call $host_response_len))
    (i32.const 1)))
