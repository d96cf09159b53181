  ;; The text for a command whose input and output may be streams: see `streams.rs`. Own memory, after the
  ;; payload: what is written, and what was read, at most 65536 bytes each.

  (global $is_streamed (mut i32) (i32.const 0))
  (global $written_at (mut i32) (i32.const 0))
  (global $read_at (mut i32) (i32.const 0))

  ;; Asks the host whether this call is streamed.
  (func $open
    (if (i32.eqz (call $stream (i32.const 12) (i32.const 4) (i32.const 0) (i32.const 0)))
      (then (return)))
    (global.set $written_at (global.get $input_end))
    (global.set $read_at (i32.add (global.get $input_end) (i32.const 65536)))
    (if (i32.eqz (call $reserve
        (i64.add (i64.extend_i32_u (global.get $read_at)) (i64.const 65536))))
      (then (unreachable)))
    (global.set $is_streamed (i32.const 1)))

  ;; Calls the host's operation of that name, with so many bytes of the own memory. Returns 0 if it fails.
  (func $stream (param $name i32) (param $name_bytes i32) (param $at i32) (param $bytes i32) (result i32)
    (call $host_call
      (i32.const NAMES_AT) (i32.const 12) (i32.const NAMES_AT) (i32.const 0)
      (i32.add (i32.const NAMES_AT) (local.get $name)) (local.get $name_bytes)
      (local.get $at) (local.get $bytes)))

  ;; Reads more input, at most so many bytes. Returns an errno.
  (func $refill (param $bytes i32) (result i32)
    (if (i32.eqz (global.get $is_streamed)) (then (return (i32.const 0))))
    (if (i32.gt_u (local.get $bytes) (i32.const 65536))
      (then (local.set $bytes (i32.const 65536))))
    (i32.store $own (global.get $written_at) (local.get $bytes))
    (if (i32.eqz (call $stream (i32.const 16) (i32.const 4) (global.get $written_at) (i32.const 4)))
      (then (return (i32.const 29)))) ;; io
    (if (i32.gt_u (call $host_response_len) (local.get $bytes)) (then (return (i32.const 29))))
    (call $host_response (global.get $read_at))
    (global.set $input (global.get $read_at))
    (global.set $input_end (i32.add (global.get $read_at) (call $host_response_len)))
    (i32.const 0))

  ;; Hands on bytes of their memory, which it has. Returns an errno.
  (func $hand_on (param $at i32) (param $bytes i32) (result i32)
    (local $chunk i32)
    (block $done (loop $next
      (br_if $done (i32.eqz (local.get $bytes)))
      (local.set $chunk (local.get $bytes))
      (if (i32.gt_u (local.get $chunk) (i32.const 65536))
        (then (local.set $chunk (i32.const 65536))))
      (memory.copy $own $theirs (global.get $written_at) (local.get $at) (local.get $chunk))
      (if (i32.eqz (call $stream
          (i32.const 20) (i32.const 5) (global.get $written_at) (local.get $chunk)))
        (then (return (i32.const 29))))
      (local.set $at (i32.add (local.get $at) (local.get $chunk)))
      (local.set $bytes (i32.sub (local.get $bytes) (local.get $chunk)))
      (br $next)))
    (i32.const 0))
