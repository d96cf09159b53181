;; Logs empty lines for ever: a limit on bytes alone never ends it.
;; expect: limit log
(module
  (import "wapc" "__guest_response" (func $guest_response (param i32 i32)))
  (import "wapc" "__console_log" (func $console_log (param i32 i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "good")

  (func (export "__guest_call") (param $op_len i32) (param $msg_len i32) (result i32)
    (if (i32.eq (local.get $op_len) (i32.const 4))
      (then
        (call $guest_response (i32.const 0) (i32.const 4))
        (return (i32.const 1))))
    (loop $for_ever
      (call $console_log (i32.const 0) (i32.const 0))
      (br $for_ever))
    (unreachable)))
