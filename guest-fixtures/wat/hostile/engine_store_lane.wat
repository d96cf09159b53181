;; Stores a lane of 8 bits with an offset of more than 16 bits, and answers "good".
;; expect: ok good
(module
  (import "wapc" "__guest_response" (func $guest_response (param i32 i32)))
  (memory (export "memory") 2)
  (data (i32.const 0) "goodwrong")

  (func (export "__guest_call") (param $op_len i32) (param $msg_len i32) (result i32)
    (local $vector v128)
    (if (i32.ne (local.get $op_len) (i32.const 4))
      (then
        (v128.store8_lane offset=65536 0 (local.get $op_len) (local.get $vector))))
    (call $guest_response (i32.const 0) (i32.const 4))
    (i32.const 1)))
