;; Grows its memory by 64 MiB and fails with all of it as the guest error.
;; expect: limit payload
;; needs: a memory limit of 65 MiB or more, a payload limit below 64 MiB
(module
  (import "wapc" "__guest_response" (func $guest_response (param i32 i32)))
  (import "wapc" "__guest_error" (func $guest_error (param i32 i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "good")

  (func (export "__guest_call") (param $op_len i32) (param $msg_len i32) (result i32)
    (if (i32.eq (local.get $op_len) (i32.const 4))
      (then
        (call $guest_response (i32.const 0) (i32.const 4))
        (return (i32.const 1))))
    (if (i32.eq (memory.grow (i32.const 1024)) (i32.const -1))
      (then (unreachable)))

    (call $guest_error (i32.const 0) (i32.const 0x4000000))
    (i32.const 0)))
