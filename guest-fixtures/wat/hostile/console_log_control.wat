;; A log line with a line end, a forged second line, a terminal escape and a NUL: the host must not let it pass for lines of its own.
;; expect: ok fine
(module
  (import "wapc" "__guest_response" (func $guest_response (param i32 i32)))
  (import "wapc" "__console_log" (func $console_log (param i32 i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "goodfineone\0d\0aERROR forged\1b[2J\1b[31m\00rest")

  (func (export "__guest_call") (param $op_len i32) (param $msg_len i32) (result i32)
    (if (i32.eq (local.get $op_len) (i32.const 4))
      (then
        (call $guest_response (i32.const 0) (i32.const 4))
        (return (i32.const 1))))
    (call $console_log (i32.const 8) (i32.const 32))
    (call $guest_response (i32.const 4) (i32.const 4))
    (i32.const 1)))
