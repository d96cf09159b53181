;; Keeps what it says to its host in a memory of its own, `wapc:memory`; WASI writes to `memory`.
;; expect: ok payload
(module
  (import "wapc" "__guest_request" (func $request (param i32 i32)))
  (import "wapc" "__guest_response" (func $respond (param i32 i32)))
  (import "wapc" "__host_call"
    (func $host_call (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "wapc" "__host_response_len" (func $answer_len (result i32)))
  (import "wapc" "__host_response" (func $answer (param i32)))
  (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
  (memory $own (export "memory") 1)
  (memory $wapc (export "wapc:memory") 1)
  (data (memory $wapc) (i32.const 0) "echo")

  (func (export "__guest_call") (param $operation i32) (param $length i32) (result i32)
    (call $request (i32.const 16) (i32.const 64))
    ;; The whole of the other memory becomes random.
    (if (call $random (i32.const 0) (i32.const 65536)) (then (unreachable)))
    (if (i32.eqz (i32.load $own (i32.const 64))) (then (unreachable)))
    (if (i32.eqz (call $host_call
        (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
        (i32.const 0) (i32.const 4) (i32.const 64) (local.get $length)))
      (then (unreachable)))
    (call $answer (i32.const 128))
    (call $respond (i32.const 128) (call $answer_len))
    (i32.const 1)))
