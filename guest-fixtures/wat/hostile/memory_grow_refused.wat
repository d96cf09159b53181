;; Grows its memory by 4 GiB less one page at once; refused, it answers "refused".
;; expect: ok refused
;; needs: a memory limit below 4 GiB
(module
  (import "wapc" "__guest_response" (func $guest_response (param i32 i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "goodrefusedgranted")

  (func (export "__guest_call") (param $op_len i32) (param $msg_len i32) (result i32)
    (if (i32.eq (local.get $op_len) (i32.const 4))
      (then
        (call $guest_response (i32.const 0) (i32.const 4))
        (return (i32.const 1))))
    (if (i32.ne (memory.grow (i32.const 65535)) (i32.const -1))
      (then (return (call $answer (i32.const 11) (i32.const 7)))))
    (call $answer (i32.const 4) (i32.const 7)))

  (func $answer (param $ptr i32) (param $len i32) (result i32)
    (call $guest_response (local.get $ptr) (local.get $len))
    (i32.const 1)))
