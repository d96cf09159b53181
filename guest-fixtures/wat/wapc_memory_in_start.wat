;; Logs from its start section, out of `wapc:memory`.
;; expect: ok
(module
  (import "wapc" "__console_log" (func $log (param i32 i32)))
  (import "wapc" "__guest_response" (func $respond (param i32 i32)))
  (memory (export "memory") 0)
  (memory (export "wapc:memory") 1)
  (start $begin)
  (func $begin (call $log (i32.const 65530) (i32.const 6)))
  (func (export "__guest_call") (param i32 i32) (result i32)
    (call $respond (i32.const 65536) (i32.const 0))
    (i32.const 1)))
