;; Its memory has no page, and it answers with the byte after its end.
;; expect: protocol out-of-bounds
(module
  (import "wapc" "__guest_response" (func $guest_response (param i32 i32)))
  (memory (export "memory") 0)

  (func (export "__guest_call") (param $op_len i32) (param $msg_len i32) (result i32)
    ;; "good"
    (if (i32.eq (local.get $op_len) (i32.const 4))
      (then
        (drop (memory.grow (i32.const 1)))
        (i32.store (i32.const 0) (i32.const 0x646f6f67))
        (call $guest_response (i32.const 0) (i32.const 4))
        (return (i32.const 1))))
    (call $guest_response (i32.shl (memory.size) (i32.const 16)) (i32.const 1))
    (i32.const 1)))
