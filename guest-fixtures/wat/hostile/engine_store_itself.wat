;; Stores an address at itself with an offset of more than 16 bits, and answers "good".
;; expect: ok good
(module
  (import "wapc" "__guest_response" (func $guest_response (param i32 i32)))
  (memory (export "memory") 2)
  (data (i32.const 0) "goodwrong")

  (func (export "__guest_call") (param $op_len i32) (param $msg_len i32) (result i32)
    (local $address i32)
    (if (i32.ne (local.get $op_len) (i32.const 4))
      (then
        (i32.store offset=65536
          (local.tee $address (i32.add (local.get $op_len) (i32.const 1)))
          (local.get $address))))
    (call $guest_response (i32.const 0) (i32.const 4))
    (i32.const 1)))
