;; Stands between a WASI command and its host. Standard input is the payload, standard output becomes
;; the response; everything else goes on to the host's WASI.
;;
;; Words in capitals are replaced by what they are; the environment and the arguments become data.
;;
;; Own memory:
;;   0              the last 4096 bytes of standard error
;;   4096           the names of the host calls of streams, if there may be some
;;   ENVIRONMENT_AT the environment: strings, each with a zero byte
;;   ARGS_AT        the arguments, likewise
;;   OPERATION_AT   the operation with a zero byte, so that it may be the last argument; the payload;
;;                  the output
(module
  (import "wapc" "__guest_request" (func $guest_request (param i32 i32)))
  (import "wapc" "__guest_response" (func $guest_response (param i32 i32)))
  (import "wapc" "__guest_error" (func $guest_error (param i32 i32)))
  STREAM_IMPORTS
  (import "WASI" "proc_exit" (func $host_exit (param i32)))
  (import "WASI" "fd_read" (func $host_read (param i32 i32 i32 i32) (result i32)))
  (import "WASI" "fd_write" (func $host_write (param i32 i32 i32 i32) (result i32)))
  (import "WASI" "fd_pread" (func $host_pread (param i32 i32 i32 i64 i32) (result i32)))
  (import "WASI" "fd_pwrite" (func $host_pwrite (param i32 i32 i32 i64 i32) (result i32)))
  (import "WASI" "fd_close" (func $host_close (param i32) (result i32)))
  (import "WASI" "fd_seek" (func $host_seek (param i32 i64 i32 i32) (result i32)))
  (import "WASI" "fd_tell" (func $host_tell (param i32 i32) (result i32)))
  (import "WASI" "fd_fdstat_get" (func $host_fdstat (param i32 i32) (result i32)))
  (import "WASI" "fd_filestat_get" (func $host_filestat (param i32 i32) (result i32)))
  (import "command" "_start" (func $start))
  (import "command" "memory" (memory $theirs 0))
  (memory $own (export "memory") PAGES)

  (global $input (mut i32) (i32.const 0))
  (global $input_end (mut i32) (i32.const 0))
  (global $output (mut i32) (i32.const 0))
  (global $output_end (mut i32) (i32.const 0))
  (global $arguments_end (mut i32) (i32.const OPERATION_AT))
  (global $error_bytes (mut i32) (i32.const 0))
  (global $is_used (mut i32) (i32.const 0))

  (func (export "__guest_call") (param $operation i32) (param $payload i32) (result i32)
    ;; A command runs once. Nobody calls an instance again that has left by proc_exit.
    (if (global.get $is_used) (then (unreachable)))
    (global.set $is_used (i32.const 1))
    (if (i32.eqz (call $reserve (i64.add
        (i64.extend_i32_u (local.get $operation))
        (i64.add (i64.extend_i32_u (local.get $payload)) (i64.const OPERATION_END)))))
      (then (unreachable)))
    (global.set $input (i32.add (local.get $operation) (i32.const OPERATION_END)))
    (global.set $input_end (i32.add (global.get $input) (local.get $payload)))
    (global.set $output (global.get $input_end))
    (global.set $output_end (global.get $input_end))
    (call $guest_request (i32.const OPERATION_AT) (global.get $input))
    (if (i32.const OPERATION_IS_ARGUMENT)
      (then (global.set $arguments_end (global.get $input))))
    (call $open)
    (call $start)
    (call $leave)
    (unreachable))

  ;; Responds, and leaves: the next call needs a new instance.
  (func $leave
    (call $guest_response (global.get $output) (i32.sub (global.get $output_end) (global.get $output)))
    (call $host_exit (i32.const 0)))

  (func (export "proc_exit") (param $code i32)
    (if (i32.eqz (local.get $code)) (then (call $leave)))
    (call $guest_error (i32.const 0) (global.get $error_bytes))
    (call $host_exit (local.get $code)))

  COMMON

  STREAM_FUNCTIONS

  ;; Returns whether their memory has the list of so many buffers, and the place for a number.
  (func $are_theirs (param $list i32) (param $buffers i32) (param $number i32) (result i32)
    (i32.and
      (call $is_theirs (local.get $list)
        (i64.shl (i64.extend_i32_u (local.get $buffers)) (i64.const 3)))
      (call $is_theirs (local.get $number) (i64.const 4))))

  (func (export "fd_read")
    (param $fd i32) (param $list i32) (param $buffers i32) (param $number i32) (result i32)
    (local $read i32) (local $bytes i32)
    (if (local.get $fd)
      (then (return (call $host_read
        (local.get $fd) (local.get $list) (local.get $buffers) (local.get $number)))))
    (if (i32.eqz (call $are_theirs (local.get $list) (local.get $buffers) (local.get $number)))
      (then (return (i32.const 21)))) ;; fault
    (block $done (loop $next
      (br_if $done (i32.eqz (local.get $buffers)))
      ;; What there is is enough, also of a stream.
      (if (i32.and (i32.eq (global.get $input) (global.get $input_end)) (i32.eqz (local.get $read)))
        (then
          (local.set $bytes (call $refill (i32.load $theirs offset=4 (local.get $list))))
          (if (local.get $bytes) (then (return (local.get $bytes))))))
      (local.set $bytes (i32.sub (global.get $input_end) (global.get $input)))
      (br_if $done (i32.eqz (local.get $bytes)))
      (if (i32.lt_u (i32.load $theirs offset=4 (local.get $list)) (local.get $bytes))
        (then (local.set $bytes (i32.load $theirs offset=4 (local.get $list)))))
      (if (i32.eqz (call $is_theirs (i32.load $theirs (local.get $list))
          (i64.extend_i32_u (local.get $bytes))))
        (then (return (i32.const 21))))
      (memory.copy $theirs $own
        (i32.load $theirs (local.get $list)) (global.get $input) (local.get $bytes))
      (global.set $input (i32.add (global.get $input) (local.get $bytes)))
      (local.set $read (i32.add (local.get $read) (local.get $bytes)))
      (local.set $list (i32.add (local.get $list) (i32.const 8)))
      (local.set $buffers (i32.sub (local.get $buffers) (i32.const 1)))
      (br $next)))
    (i32.store $theirs (local.get $number) (local.get $read))
    (i32.const 0))

  (func (export "fd_write")
    (param $fd i32) (param $list i32) (param $buffers i32) (param $number i32) (result i32)
    (local $written i32) (local $at i32) (local $bytes i32) (local $errno i32)
    (if (i32.gt_u (i32.sub (local.get $fd) (i32.const 1)) (i32.const 1))
      (then (return (call $host_write
        (local.get $fd) (local.get $list) (local.get $buffers) (local.get $number)))))
    (if (i32.eqz (call $are_theirs (local.get $list) (local.get $buffers) (local.get $number)))
      (then (return (i32.const 21))))
    (if (i32.eq (local.get $fd) (i32.const 2))
      (then
        (call $note_errors (local.get $list) (local.get $buffers))
        (return (call $host_write
          (local.get $fd) (local.get $list) (local.get $buffers) (local.get $number)))))
    (block $done (loop $next
      (br_if $done (i32.eqz (local.get $buffers)))
      (local.set $at (i32.load $theirs (local.get $list)))
      (local.set $bytes (i32.load $theirs offset=4 (local.get $list)))
      (if (i32.eqz (call $is_theirs (local.get $at) (i64.extend_i32_u (local.get $bytes))))
        (then (return (i32.const 21))))
      (if (global.get $is_streamed)
        (then
          (local.set $errno (call $hand_on (local.get $at) (local.get $bytes)))
          (if (local.get $errno) (then (return (local.get $errno)))))
        (else
          (if (i32.eqz (call $reserve (i64.add
              (i64.extend_i32_u (global.get $output_end)) (i64.extend_i32_u (local.get $bytes)))))
            (then (return (i32.const 48)))) ;; nomem
          (memory.copy $own $theirs (global.get $output_end) (local.get $at) (local.get $bytes))
          (global.set $output_end (i32.add (global.get $output_end) (local.get $bytes)))))
      (local.set $written (i32.add (local.get $written) (local.get $bytes)))
      (local.set $list (i32.add (local.get $list) (i32.const 8)))
      (local.set $buffers (i32.sub (local.get $buffers) (i32.const 1)))
      (br $next)))
    (i32.store $theirs (local.get $number) (local.get $written))
    (i32.const 0))

  ;; Keeps the end of standard error. Buffers out of bounds are the host's to refuse.
  (func $note_errors (param $list i32) (param $buffers i32)
    (local $at i32) (local $bytes i32) (local $kept i32)
    (block $done (loop $next
      (br_if $done (i32.eqz (local.get $buffers)))
      (local.set $at (i32.load $theirs (local.get $list)))
      (local.set $bytes (i32.load $theirs offset=4 (local.get $list)))
      (br_if $done (i32.eqz
        (call $is_theirs (local.get $at) (i64.extend_i32_u (local.get $bytes)))))
      (if (i32.gt_u (local.get $bytes) (i32.const 4096))
        (then
          (local.set $at (i32.add (local.get $at) (i32.sub (local.get $bytes) (i32.const 4096))))
          (local.set $bytes (i32.const 4096))))
      (local.set $kept (i32.sub (i32.const 4096) (local.get $bytes)))
      (if (i32.lt_u (local.get $kept) (global.get $error_bytes))
        (then
          (memory.copy $own $own (i32.const 0)
            (i32.sub (global.get $error_bytes) (local.get $kept)) (local.get $kept))
          (global.set $error_bytes (local.get $kept))))
      (memory.copy $own $theirs (global.get $error_bytes) (local.get $at) (local.get $bytes))
      (global.set $error_bytes (i32.add (global.get $error_bytes) (local.get $bytes)))
      (local.set $list (i32.add (local.get $list) (i32.const 8)))
      (local.set $buffers (i32.sub (local.get $buffers) (i32.const 1)))
      (br $next))))

  ;; Standard input and output are pipes.

  (func $is_pipe (param $fd i32) (result i32) (i32.lt_u (local.get $fd) (i32.const 2)))

  (func (export "fd_pread") (param i32 i32 i32 i64 i32) (result i32)
    (if (call $is_pipe (local.get 0)) (then (return (i32.const 70)))) ;; spipe
    (call $host_pread (local.get 0) (local.get 1) (local.get 2) (local.get 3) (local.get 4)))

  (func (export "fd_pwrite") (param i32 i32 i32 i64 i32) (result i32)
    (if (call $is_pipe (local.get 0)) (then (return (i32.const 70))))
    (call $host_pwrite (local.get 0) (local.get 1) (local.get 2) (local.get 3) (local.get 4)))

  (func (export "fd_seek") (param i32 i64 i32 i32) (result i32)
    (if (call $is_pipe (local.get 0)) (then (return (i32.const 70))))
    (call $host_seek (local.get 0) (local.get 1) (local.get 2) (local.get 3)))

  (func (export "fd_tell") (param i32 i32) (result i32)
    (if (call $is_pipe (local.get 0)) (then (return (i32.const 70))))
    (call $host_tell (local.get 0) (local.get 1)))

  (func (export "fd_close") (param i32) (result i32)
    (if (call $is_pipe (local.get 0)) (then (return (i32.const 0))))
    (call $host_close (local.get 0)))

  (func (export "fd_fdstat_get") (param $fd i32) (param $stat i32) (result i32)
    (if (i32.eqz (call $is_pipe (local.get $fd)))
      (then (return (call $host_fdstat (local.get $fd) (local.get $stat)))))
    (if (i32.eqz (call $is_theirs (local.get $stat) (i64.const 24)))
      (then (return (i32.const 21))))
    ;; Of no known type; it may be read, written, polled and looked at.
    (memory.fill $theirs (local.get $stat) (i32.const 0) (i32.const 24))
    (i64.store $theirs offset=8 (local.get $stat) (i64.const 0x8200042))
    (i32.const 0))

  (func (export "fd_filestat_get") (param $fd i32) (param $stat i32) (result i32)
    (if (i32.eqz (call $is_pipe (local.get $fd)))
      (then (return (call $host_filestat (local.get $fd) (local.get $stat)))))
    (if (i32.eqz (call $is_theirs (local.get $stat) (i64.const FILESTAT_BYTES)))
      (then (return (i32.const 21))))
    (memory.fill $theirs (local.get $stat) (i32.const 0) (i32.const FILESTAT_BYTES))
    (i32.const 0))

  ;; Lists of strings: each ends with a zero byte.

  (func $count (param $at i32) (param $end i32) (result i32)
    (local $strings i32)
    (block $done (loop $next
      (br_if $done (i32.ge_u (local.get $at) (local.get $end)))
      (local.set $strings (i32.add (local.get $strings)
        (i32.eqz (i32.load8_u $own (local.get $at)))))
      (local.set $at (i32.add (local.get $at) (i32.const 1)))
      (br $next)))
    (local.get $strings))

  (func $sizes (param $at i32) (param $end i32) (param $strings i32) (param $bytes i32) (result i32)
    (if (i32.eqz (i32.and (call $is_theirs (local.get $strings) (i64.const 4))
        (call $is_theirs (local.get $bytes) (i64.const 4))))
      (then (return (i32.const 21))))
    (i32.store $theirs (local.get $strings) (call $count (local.get $at) (local.get $end)))
    (i32.store $theirs (local.get $bytes) (i32.sub (local.get $end) (local.get $at)))
    (i32.const 0))

  (func $strings (param $at i32) (param $end i32) (param $list i32) (param $buffer i32) (result i32)
    (local $begins i32)
    (if (i32.eqz (i32.and
        (call $is_theirs (local.get $list) (i64.shl
          (i64.extend_i32_u (call $count (local.get $at) (local.get $end))) (i64.const 2)))
        (call $is_theirs (local.get $buffer)
          (i64.extend_i32_u (i32.sub (local.get $end) (local.get $at))))))
      (then (return (i32.const 21))))
    (memory.copy $theirs $own
      (local.get $buffer) (local.get $at) (i32.sub (local.get $end) (local.get $at)))
    (local.set $begins (i32.const 1))
    (block $done (loop $next
      (br_if $done (i32.ge_u (local.get $at) (local.get $end)))
      (if (local.get $begins)
        (then
          (i32.store $theirs (local.get $list) (local.get $buffer))
          (local.set $list (i32.add (local.get $list) (i32.const 4)))))
      (local.set $begins (i32.eqz (i32.load8_u $own (local.get $at))))
      (local.set $at (i32.add (local.get $at) (i32.const 1)))
      (local.set $buffer (i32.add (local.get $buffer) (i32.const 1)))
      (br $next)))
    (i32.const 0))

  (func (export "args_sizes_get") (param i32 i32) (result i32)
    (call $sizes (i32.const ARGS_AT) (global.get $arguments_end) (local.get 0) (local.get 1)))

  (func (export "args_get") (param i32 i32) (result i32)
    (call $strings (i32.const ARGS_AT) (global.get $arguments_end) (local.get 0) (local.get 1)))

  (func (export "environ_sizes_get") (param i32 i32) (result i32)
    (call $sizes (i32.const ENVIRONMENT_AT) (i32.const ARGS_AT) (local.get 0) (local.get 1)))

  (func (export "environ_get") (param i32 i32) (result i32)
    (call $strings (i32.const ENVIRONMENT_AT) (i32.const ARGS_AT) (local.get 0) (local.get 1)))

  DATA)
