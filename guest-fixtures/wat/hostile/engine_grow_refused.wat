;; Grows its memory to no avail a million times, and answers "good".
;; expect: ok good
(module
  (import "wapc" "__guest_response" (func $guest_response (param i32 i32)))
  (memory (export "memory") 2 2)
  (data (i32.const 0) "goodwrong")

  (func (export "__guest_call") (param $op_len i32) (param $msg_len i32) (result i32)
    (local $count i32)
    (if (i32.ne (local.get $op_len) (i32.const 4))
      (then
        (loop $again
          (drop (memory.grow (i32.const 1)))
          (local.set $count (i32.add (local.get $count) (i32.const 1)))
          (br_if $again (i32.lt_u (local.get $count) (i32.const 1000000))))))
    (call $guest_response (i32.const 0) (i32.const 4))
    (i32.const 1)))
