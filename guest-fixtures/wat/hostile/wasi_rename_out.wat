;; Moves the read-only `file.txt` to a directory where it may write.
;; expect: ok 63
;; needs: the read-only directory of README.md as fd 3; a read-write directory as fd 4
(module
  (import "wapc" "__guest_response" (func $guest_response (param i32 i32)))
  (import "wasi_snapshot_preview1" "path_rename"
    (func $path_rename (param i32 i32 i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "goodfile.txtnew")

  (func (export "__guest_call") (param $op_len i32) (param $msg_len i32) (result i32)
    (if (i32.eq (local.get $op_len) (i32.const 4))
      (then
        (call $guest_response (i32.const 0) (i32.const 4))
        (return (i32.const 1))))
    (call $answer_number
      (call $path_rename (i32.const 3) (i32.const 4) (i32.const 8) (i32.const 4) (i32.const 12) (i32.const 3))))

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
