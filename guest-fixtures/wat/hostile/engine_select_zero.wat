;; Selects by whether a local is 0, and answers "good" if the selection is right.
;; expect: ok good
(module
  (import "wapc" "__guest_response" (func $guest_response (param i32 i32)))
  (memory (export "memory") 2)
  (data (i32.const 0) "goodwrong")

  (func (export "__guest_call") (param $op_len i32) (param $msg_len i32) (result i32)
    (local $zero i32)
    (if (i32.ne (local.get $op_len) (i32.const 4))
      (then
        (memory.size)
        (select (i32.const 0) (i32.const 4) (i32.eqz (local.get $zero)))
        (local.set $op_len)
        (drop)
        (call $guest_response (local.get $op_len) (i32.const 4))
        (return (i32.const 1))))
    (call $guest_response (i32.const 0) (i32.const 4))
    (i32.const 1)))
