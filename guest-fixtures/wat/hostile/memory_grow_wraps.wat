;; Grows its memory by 4,294,967,295 pages, which no memory can have: refused, it answers "refused".
;; expect: ok refused
(module
  (import "wapc" "__guest_response" (func $guest_response (param i32 i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "goodrefused")

  (func (export "__guest_call") (param $op_len i32) (param $msg_len i32) (result i32)
    (if (i32.eq (local.get $op_len) (i32.const 4))
      (then
        (call $guest_response (i32.const 0) (i32.const 4))
        (return (i32.const 1))))
    (if (i32.ne (memory.grow (i32.const -1)) (i32.const -1))
      (then (unreachable)))
    (call $guest_response (i32.const 4) (i32.const 7))
    (i32.const 1)))
