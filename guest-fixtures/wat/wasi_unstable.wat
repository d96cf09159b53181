;; An older guest, built for `wasi_unstable`: hello, stdout (writes the payload to fd 1, answers nothing), env_count; anything else echoes.
(module
  (import "wasi_unstable" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_unstable" "environ_sizes_get" (func $environ_sizes_get (param i32 i32) (result i32)))
  (import "wasi_unstable" "environ_get" (func $environ_get (param i32 i32) (result i32)))
  (import "wasi_unstable" "proc_exit" (func $proc_exit (param i32)))
  (import "wapc" "__guest_request" (func $guest_request (param i32 i32)))
  (import "wapc" "__guest_response" (func $guest_response (param i32 i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "Hello, ")

  ;; The operations are told apart by the length of their names.
  ;; From 128: the operation's name, seven bytes for "Hello, ", the message, one byte for ".".
  (func (export "__guest_call") (param $op_len i32) (param $msg_len i32) (result i32)
    (local $msg i32)
    (local $missing i32)
    (local.set $msg (i32.add (local.get $op_len) (i32.const 135)))
    (local.set $missing
      (i32.sub
        (i32.shr_u
          (i32.add (i32.add (local.get $msg) (local.get $msg_len)) (i32.const 65536))
          (i32.const 16))
        (memory.size)))
    (if (i32.gt_s (local.get $missing) (i32.const 0))
      (then
        (if (i32.eq (memory.grow (local.get $missing)) (i32.const -1))
          (then (unreachable)))))
    (call $guest_request (i32.const 128) (local.get $msg))

    ;; hello
    (if (i32.eq (local.get $op_len) (i32.const 5))
      (then
        (i32.store (i32.sub (local.get $msg) (i32.const 7)) (i32.load (i32.const 0)))
        (i32.store (i32.sub (local.get $msg) (i32.const 4)) (i32.load (i32.const 3)))
        (i32.store8 (i32.add (local.get $msg) (local.get $msg_len)) (i32.const 46))
        (return (call $answer
          (i32.sub (local.get $msg) (i32.const 7))
          (i32.add (local.get $msg_len) (i32.const 8))))))

    ;; stdout: writes until all is written
    (if (i32.eq (local.get $op_len) (i32.const 6))
      (then
        (block $written
          (loop $more
            (br_if $written (i32.eqz (local.get $msg_len)))
            (i32.store (i32.const 16) (local.get $msg))
            (i32.store (i32.const 20) (local.get $msg_len))
            (if (call $fd_write (i32.const 1) (i32.const 16) (i32.const 1) (i32.const 24))
              (then (unreachable)))
            (local.set $msg (i32.add (local.get $msg) (i32.load (i32.const 24))))
            (local.set $msg_len (i32.sub (local.get $msg_len) (i32.load (i32.const 24))))
            (br $more)))
        (return (call $answer (i32.const 0) (i32.const 0)))))

    ;; env_count
    (if (i32.eq (local.get $op_len) (i32.const 9))
      (then
        (if (call $environ_sizes_get (i32.const 16) (i32.const 20))
          (then (unreachable)))
        (return (call $answer_number (i32.load (i32.const 16))))))

    (call $answer (local.get $msg) (local.get $msg_len)))

  (func $answer (param $ptr i32) (param $len i32) (result i32)
    (call $guest_response (local.get $ptr) (local.get $len))
    (i32.const 1))

  ;; Decimal text, written backwards from 128.
  (func $answer_number (param $rest i32) (result i32)
    (local $at i32)
    (local.set $at (i32.const 128))
    (loop $digit
      (local.set $at (i32.sub (local.get $at) (i32.const 1)))
      (i32.store8 (local.get $at)
        (i32.add (i32.rem_u (local.get $rest) (i32.const 10)) (i32.const 48)))
      (local.set $rest (i32.div_u (local.get $rest) (i32.const 10)))
      (br_if $digit (local.get $rest)))
    (call $answer (local.get $at) (i32.sub (i32.const 128) (local.get $at)))))
