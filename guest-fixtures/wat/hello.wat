;; The reference guest: echo, hello, ping_host, fail, log, panic and count, in plain MVP WebAssembly.
;; An operation it does not know is the guest error "unknown operation: NAME".
(module
  (import "wapc" "__guest_request" (func $guest_request (param i32 i32)))
  (import "wapc" "__guest_response" (func $guest_response (param i32 i32)))
  (import "wapc" "__guest_error" (func $guest_error (param i32 i32)))
  (import "wapc" "__host_call"
    (func $host_call (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "wapc" "__host_response_len" (func $host_response_len (result i32)))
  (import "wapc" "__host_response" (func $host_response (param i32)))
  (import "wapc" "__host_error_len" (func $host_error_len (result i32)))
  (import "wapc" "__host_error" (func $host_error (param i32)))
  (import "wapc" "__console_log" (func $console_log (param i32 i32)))

  (memory (export "memory") 1)
  (data (i32.const 0) "Hello, ")
  (data (i32.const 16) "bind")
  (data (i32.const 20) "ns")
  (data (i32.const 22) "op")
  (data (i32.const 32) "echo")
  (data (i32.const 36) "hello")
  (data (i32.const 41) "ping_host")
  (data (i32.const 50) "fail")
  (data (i32.const 54) "log")
  (data (i32.const 57) "panic")
  (data (i32.const 62) "count")
  ;; Ends at 1024, where the operation's name is received: the two are read as one text.
  (data (i32.const 1005) "unknown operation: ")

  (global $count (mut i32) (i32.const 0))
  (global $op_len (mut i32) (i32.const 0))

  ;; From 1024: the operation's name, seven bytes for "Hello, ", the message, one byte
  ;; for ".", and whatever the host answers.
  (func (export "__guest_call") (param $op_len i32) (param $msg_len i32) (result i32)
    (local $msg i32)
    (local $end i32)
    (global.set $op_len (local.get $op_len))
    (local.set $msg (i32.add (local.get $op_len) (i32.const 1031)))
    (local.set $end (i32.add (i32.add (local.get $msg) (local.get $msg_len)) (i32.const 1)))
    (call $reserve (local.get $end))
    (call $guest_request (i32.const 1024) (local.get $msg))

    (if (call $is (i32.const 32) (i32.const 4))
      (then (return (call $answer (local.get $msg) (local.get $msg_len)))))
    (if (call $is (i32.const 36) (i32.const 5))
      (then (return (call $hello (local.get $msg) (local.get $msg_len)))))
    (if (call $is (i32.const 41) (i32.const 9))
      (then (return
        (call $ping_host (local.get $msg) (local.get $msg_len) (local.get $end)))))
    (if (call $is (i32.const 50) (i32.const 4))
      (then (return (call $fail (local.get $msg) (local.get $msg_len)))))
    (if (call $is (i32.const 54) (i32.const 3))
      (then
        (call $console_log (local.get $msg) (local.get $msg_len))
        (return (call $answer (i32.const 0) (i32.const 0)))))
    (if (call $is (i32.const 57) (i32.const 5))
      (then (unreachable)))
    (if (call $is (i32.const 62) (i32.const 5))
      (then (return (call $next_count))))
    (call $fail (i32.const 1005) (i32.add (local.get $op_len) (i32.const 19))))

  (func $hello (param $msg i32) (param $msg_len i32) (result i32)
    ;; "Hell" and "lo, " overlap in the second "l".
    (i32.store (i32.sub (local.get $msg) (i32.const 7)) (i32.load (i32.const 0)))
    (i32.store (i32.sub (local.get $msg) (i32.const 4)) (i32.load (i32.const 3)))
    (i32.store8 (i32.add (local.get $msg) (local.get $msg_len)) (i32.const 46))
    (call $answer
      (i32.sub (local.get $msg) (i32.const 7))
      (i32.add (local.get $msg_len) (i32.const 8))))

  (func $ping_host (param $msg i32) (param $msg_len i32) (param $buffer i32) (result i32)
    (local $len i32)
    (if
      (call $host_call
        (i32.const 16) (i32.const 4)
        (i32.const 20) (i32.const 2)
        (i32.const 22) (i32.const 2)
        (local.get $msg) (local.get $msg_len))
      (then
        (local.set $len (call $host_response_len))
        (call $reserve (i32.add (local.get $buffer) (local.get $len)))
        (call $host_response (local.get $buffer))
        (return (call $answer (local.get $buffer) (local.get $len)))))
    (local.set $len (call $host_error_len))
    (call $reserve (i32.add (local.get $buffer) (local.get $len)))
    (call $host_error (local.get $buffer))
    (call $fail (local.get $buffer) (local.get $len)))

  ;; The number of times this has been asked, as decimal text written backwards from 1005.
  (func $next_count (result i32)
    (local $rest i32)
    (local $at i32)
    (global.set $count (i32.add (global.get $count) (i32.const 1)))
    (local.set $rest (global.get $count))
    (local.set $at (i32.const 1005))
    (loop $digit
      (local.set $at (i32.sub (local.get $at) (i32.const 1)))
      (i32.store8 (local.get $at)
        (i32.add (i32.rem_u (local.get $rest) (i32.const 10)) (i32.const 48)))
      (local.set $rest (i32.div_u (local.get $rest) (i32.const 10)))
      (br_if $digit (local.get $rest)))
    (call $answer (local.get $at) (i32.sub (i32.const 1005) (local.get $at))))

  (func $answer (param $ptr i32) (param $len i32) (result i32)
    (call $guest_response (local.get $ptr) (local.get $len))
    (i32.const 1))

  (func $fail (param $ptr i32) (param $len i32) (result i32)
    (call $guest_error (local.get $ptr) (local.get $len))
    (i32.const 0))

  ;; Whether the operation's name is the text at $ptr.
  (func $is (param $ptr i32) (param $len i32) (result i32)
    (if (i32.ne (global.get $op_len) (local.get $len))
      (then (return (i32.const 0))))
    (loop $byte
      (local.set $len (i32.sub (local.get $len) (i32.const 1)))
      (if
        (i32.ne
          (i32.load8_u (i32.add (local.get $ptr) (local.get $len)))
          (i32.load8_u offset=1024 (local.get $len)))
        (then (return (i32.const 0))))
      (br_if $byte (local.get $len)))
    (i32.const 1))

  ;; Grows the memory until it holds $end bytes.
  (func $reserve (param $end i32)
    (local $missing i32)
    (local.set $missing
      (i32.sub
        (i32.shr_u (i32.add (local.get $end) (i32.const 65535)) (i32.const 16))
        (memory.size)))
    (if (i32.gt_s (local.get $missing) (i32.const 0))
      (then
        (if (i32.eq (memory.grow (local.get $missing)) (i32.const -1))
          (then (unreachable)))))))
