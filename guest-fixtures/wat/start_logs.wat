;; Logs the line "starting" from its start section, before the instance exists; every operation answers "started".
;; expect: ok started
(module
  (import "wapc" "__guest_response" (func $guest_response (param i32 i32)))
  (import "wapc" "__console_log" (func $console_log (param i32 i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "startingstarted")

  (start $log)
  (func $log
    (call $console_log (i32.const 0) (i32.const 8)))

  (func (export "__guest_call") (param $op_len i32) (param $msg_len i32) (result i32)
    (call $guest_response (i32.const 8) (i32.const 7))
    (i32.const 1)))
