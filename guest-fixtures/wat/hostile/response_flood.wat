;; Sets a response of 1 MiB for ever: each must replace the one before.
;; expect: limit fuel-or-deadline
;; needs: a payload limit of 1 MiB or more
(module
  (import "wapc" "__guest_response" (func $guest_response (param i32 i32)))
  (memory (export "memory") 16)
  (data (i32.const 0) "good")

  (func (export "__guest_call") (param $op_len i32) (param $msg_len i32) (result i32)
    (if (i32.eq (local.get $op_len) (i32.const 4))
      (then
        (call $guest_response (i32.const 0) (i32.const 4))
        (return (i32.const 1))))
    (loop $for_ever
      (call $guest_response (i32.const 0) (i32.const 0x100000))
      (br $for_ever))
    (unreachable)))
