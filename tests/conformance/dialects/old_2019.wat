;; A guest of waPC's protocol of 2019. `echo` is answered by its host; `fail`, `trap` and `loop` do so.
(module
  (import "wapc" "__host_call" (func $host_call (param i32 i32 i32 i32) (result i32)))
  (import "wapc" "__guest_request" (func $request (param i32 i32)))
  (import "wapc" "__guest_response" (func $respond (param i32 i32)))
  (import "wapc" "__guest_error" (func $error (param i32 i32)))
  (import "wapc" "__host_response" (func $answer (param i32)))
  (import "wapc" "__host_response_len" (func $answer_len (result i32)))
  (memory (export "memory") 2)
  (data (i32.const 512) "nsfailed")
  (func (export "__guest_call") (param $op i32) (param $len i32) (result i32)
    (call $request (i32.const 0) (i32.const 1024))
    (if (i32.eq (i32.load8_u (i32.const 0)) (i32.const 102))
      (then
        (call $error (i32.const 514) (i32.const 6))
        (return (i32.const 0))))
    (if (i32.eq (i32.load8_u (i32.const 0)) (i32.const 116)) (then (unreachable)))
    (if (i32.eq (i32.load8_u (i32.const 0)) (i32.const 108)) (then (loop (br 0))))
    (if (i32.eqz (call $host_call 
        (i32.const 0) (local.get $op) (i32.const 1024) (local.get $len)))
      (then (unreachable)))
    (call $answer (i32.const 1024))
    (call $respond (i32.const 1024) (call $answer_len))
    (i32.const 1)))
