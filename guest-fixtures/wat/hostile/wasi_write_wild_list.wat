;; Writes to fd 1 from a list of iovecs that itself ends past the memory.
;; expect: ok 21
(module
  (import "wapc" "__guest_response" (func $guest_response (param i32 i32)))
  (import "wasi_snapshot_preview1" "fd_write"
    (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "good")

  (func (export "__guest_call") (param $op_len i32) (param $msg_len i32) (result i32)
    (if (i32.eq (local.get $op_len) (i32.const 4))
      (then
        (call $guest_response (i32.const 0) (i32.const 4))
        (return (i32.const 1))))
    (call $answer_number
      (call $fd_write (i32.const 1) (i32.const 65532) (i32.const 1) (i32.const 72))))

  ;; Decimal text, written backwards from 4096.
  (func $answer_number (param $rest i32) (result i32)
    (local $at i32)
    (local.set $at (i32.const 4096))
    (loop $digit
      (local.set $at (i32.sub (local.get $at) (i32.const 1)))
      (i32.store8 (local.get $at)
        (i32.add (i32.rem_u (local.get $rest) (i32.const 10)) (i32.const 48)))
      (local.set $rest (i32.div_u (local.get $rest) (i32.const 10)))
      (br_if $digit (local.get $rest)))
    (call $guest_response (local.get $at) (i32.sub (i32.const 4096) (local.get $at)))
    (i32.const 1)))
