;; Extism's environment, between a plugin and a waPC host.
;;
;; A handle is the place of a block in this memory, which no plugin sees but by the functions below. All
;; state is in globals. A plugin can write over its blocks and their headers, which confuses blocks of its own
;; and nothing else.
;;
;; Words in capitals are replaced by what they are. The memory:
;;   0              the exports that may be called: each its length, 4 bytes, its name, zeros up to 8
;;   SCRATCH_AT     the names of a host call
;;   NOT_FOUND_AT   "Function not found: "
;;   OPERATION_AT   the operation of a call, and zeros
;;   ZERO_AT        8 bytes of zeros
;;   TRASH_AT       8 bytes that nobody reads
;;   RECORD_AT      what is lent to functions of the host
;;   BLOCKS_AT      blocks: the length, a mark (see $mark), the bytes, up to 16
(module
  (type $callable (func (result i32)))
  (import "wapc" "__guest_request" (func $guest_request (param i32 i32)))
  (import "wapc" "__guest_response" (func $guest_response (param i32 i32)))
  (import "wapc" "__guest_error" (func $guest_error (param i32 i32)))
  (import "wapc" "__host_call"
    (func $host_call (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "wapc" "__host_response_len" (func $answer_bytes (result i32)))
  (import "wapc" "__host_response" (func $answer (param i32)))
  (import "wapc" "__host_error_len" (func $host_error_bytes (result i32)))
  (import "wapc" "__host_error" (func $host_error (param i32)))
  IMPORTS
  (memory (export "$memory") PAGES)
  (table $callables NUMBER funcref)
  (elem (table $callables) (i32.const 0) func ELEMENTS)
  EXPORTED_NAMES
  (data $names HOST_NAMES)

  (global $bytes (mut i64) (i64.const MEMORY_BYTES))
  (global $last_u64 (mut i64) (i64.const LAST_U64))
  ;; The bytes that blocks may have, and the places among them where 8 bytes begin.
  (global $room (mut i64) (i64.const ROOM))
  (global $room_u64 (mut i64) (i64.const ROOM_U64))
  (global $top (mut i64) (i64.const BLOCKS_AT)) ;; the place of the next block's header
  (global $used (mut i64) (i64.const BLOCKS_AT)) ;; from here on there is nothing of earlier calls
  (global $freed (mut i64) (i64.const 0)) ;; the last block that was freed; each leads to the one before
  (global $call (mut i64) (i64.const 0))
  (global $in_call (mut i32) (i32.const 0))
  (global $input (mut i64) (i64.const 0))
  (global $input_bytes (mut i64) (i64.const 0))
  (global $input_u64 (mut i64) (i64.const 0)) ;; the places in it where 8 bytes begin
  (global $output (mut i64) (i64.const 0))
  (global $output_bytes (mut i64) (i64.const 0))
  (global $error (mut i64) (i64.const 0))
  (global $status (mut i32) (i32.const 0))
  (global $headers (mut i64) (i64.const 0))

  ;; Bytes. What is outside of the memory reads as 0, and is written to a place that nobody reads; so is what
  ;; lies below the blocks. The linker puts these functions in place of the calls to them: they are small, and
  ;; without branches, which cost an interpreter more than a load.

  (func (export "load_u8") (param $at i64) (result i32)
    (i32.load8_u (i32.wrap_i64 (select (local.get $at) (i64.const ZERO_AT)
      (i64.lt_u (local.get $at) (global.get $bytes))))))

  (func (export "load_u64") (param $at i64) (result i64)
    (i64.load align=1 (i32.wrap_i64 (select (local.get $at) (i64.const ZERO_AT)
      (i64.le_u (local.get $at) (global.get $last_u64))))))

  (func (export "store_u8") (param $at i64) (param $value i32)
    (i32.store8
      (i32.wrap_i64 (select (local.get $at) (i64.const TRASH_AT)
        (i64.lt_u (i64.sub (local.get $at) (i64.const BLOCKS_AT)) (global.get $room))))
      (local.get $value)))

  (func (export "store_u64") (param $at i64) (param $value i64)
    (i64.store align=1
      (i32.wrap_i64 (select (local.get $at) (i64.const TRASH_AT)
        (i64.lt_u (i64.sub (local.get $at) (i64.const BLOCKS_AT)) (global.get $room_u64))))
      (local.get $value)))

  (func (export "input_load_u8") (param $at i64) (result i32)
    (i32.load8_u (i32.wrap_i64 (select
      (i64.add (global.get $input) (local.get $at)) (i64.const ZERO_AT)
      (i64.lt_u (local.get $at) (global.get $input_bytes))))))

  ;; All 8 bytes or none.
  (func (export "input_load_u64") (param $at i64) (result i64)
    (i64.load align=1 (i32.wrap_i64 (select
      (i64.add (global.get $input) (local.get $at)) (i64.const ZERO_AT)
      (i64.lt_u (local.get $at) (global.get $input_u64))))))

  ;; Blocks.

  ;; Returns what stands before a live block of this call, and before nothing else unless a plugin forges
  ;; it: so that a handle can be checked without a search, and all are invalid after a call.
  (func $mark (param $handle i64) (result i64)
    (i64.xor (i64.const 0x6a09e667f3bcc908)
      (i64.or (local.get $handle) (i64.shl (global.get $call) (i64.const 32)))))

  (func $is_live (param $handle i64) (result i32)
    (if (i64.lt_u (local.get $handle) (i64.const BLOCKS_AT_AND_16)) (then (return (i32.const 0))))
    (if (i64.ge_u (local.get $handle) (global.get $top)) (then (return (i32.const 0))))
    (i64.eq (call $mark (local.get $handle))
      (i64.load offset=8 align=1 (i32.wrap_i64 (i64.sub (local.get $handle) (i64.const 16))))))

  ;; Grows the memory to that many bytes, and no further: what a limit refuses is noted by the host.
  ;; Returns 0 if it cannot.
  (func $reserve (param $bytes i64) (result i32)
    (if (i64.le_u (local.get $bytes) (global.get $bytes)) (then (return (i32.const 1))))
    (if (i64.gt_u (local.get $bytes) (i64.const 0xffff0000)) (then (return (i32.const 0))))
    (if (i32.eq (i32.const -1) (memory.grow (i32.wrap_i64 (i64.shr_u
          (i64.add (i64.sub (local.get $bytes) (global.get $bytes)) (i64.const 65535))
          (i64.const 16)))))
      (then (return (i32.const 0))))
    (call $note_size)
    (i32.const 1))

  (func $note_size
    (global.set $bytes (i64.shl (i64.extend_i32_u (memory.size)) (i64.const 16)))
    (global.set $last_u64 (i64.sub (global.get $bytes) (i64.const 8)))
    (global.set $room (i64.sub (global.get $bytes) (i64.const BLOCKS_AT)))
    (global.set $room_u64 (i64.sub (global.get $room) (i64.const 7))))

  ;; Makes a block, whose bytes are what was there before. Returns 0 if it cannot. Freed blocks come
  ;; again only where the memory would have to grow, because plugins free what the host has freed for
  ;; them, and would free the block that came again.
  (func $new (param $length i64) (result i64)
    (local $handle i64) (local $end i64)
    (if (i64.ge_u (i64.sub (local.get $length) (i64.const 1)) (i64.const 0xfffe0000))
      (then (return (i64.const 0))))
    (local.set $handle (i64.add (global.get $top) (i64.const 16)))
    (local.set $end (i64.and (i64.const -16)
      (i64.add (i64.add (local.get $handle) (local.get $length)) (i64.const 15))))
    (if (i64.gt_u (local.get $end) (global.get $bytes))
      (then
        (if (call $is_reusable (local.get $length))
          (then
            (local.set $handle (global.get $freed))
            (global.set $freed (i64.load align=1 (i32.wrap_i64
              (i64.sub (local.get $handle) (i64.const 16)))))
            (call $begin_block (local.get $handle) (local.get $length))
            (return (local.get $handle))))
        (if (i32.eqz (call $reserve (local.get $end))) (then (return (i64.const 0))))))
    (global.set $top (local.get $end))
    (call $begin_block (local.get $handle) (local.get $length))
    (local.get $handle))

  (func $begin_block (param $handle i64) (param $length i64)
    (local $header i32)
    (local.set $header (i32.wrap_i64 (i64.sub (local.get $handle) (i64.const 16))))
    (i64.store align=1 (local.get $header) (local.get $length))
    (i64.store offset=8 align=1 (local.get $header) (call $mark (local.get $handle))))

  ;; Returns whether the block that was freed last has room. What `free` has left before it may have been
  ;; overwritten by the plugin.
  (func $is_reusable (param $length i64) (result i32)
    (local $room i64)
    (if (i64.lt_u (global.get $freed) (i64.const BLOCKS_AT_AND_16)) (then (return (i32.const 0))))
    (if (i64.ge_u (global.get $freed) (global.get $top)) (then (return (i32.const 0))))
    (local.set $room (i64.load offset=8 align=1 (i32.wrap_i64
      (i64.sub (global.get $freed) (i64.const 16)))))
    (i32.and (i64.le_u (local.get $length) (local.get $room))
      (i64.le_u (local.get $room) (i64.sub (global.get $top) (global.get $freed)))))

  ;; Makes a block for the host's bytes; without one the call cannot go on.
  (func $room (param $length i32) (result i64)
    (local $handle i64)
    (if (i32.eqz (local.get $length)) (then (return (i64.const 0))))
    (local.set $handle (call $new (i64.extend_i32_u (local.get $length))))
    (if (i64.eqz (local.get $handle)) (then (unreachable)))
    (local.get $handle))

  (func (export "alloc") (param $length i64) (result i64)
    (local $handle i64)
    (local.set $handle (call $new (local.get $length)))
    (if (i64.lt_u (i64.sub (local.get $handle) (i64.const 1)) (global.get $used))
      (then (memory.fill
        (i32.wrap_i64 (local.get $handle)) (i32.const 0) (i32.wrap_i64 (local.get $length)))))
    (local.get $handle))

  (func $free (export "free") (param $handle i64)
    (local $header i32)
    (if (i32.eqz (call $is_live (local.get $handle))) (then (return)))
    (local.set $header (i32.wrap_i64 (i64.sub (local.get $handle) (i64.const 16))))
    ;; Its length takes the mark's place, and the block freed before takes the length's.
    (i64.store offset=8 align=1 (local.get $header) (i64.load align=1 (local.get $header)))
    (i64.store align=1 (local.get $header) (global.get $freed))
    (global.set $freed (local.get $handle))
    (if (i64.eq (local.get $handle) (global.get $input))
      (then (call $set_input (global.get $input) (i64.const 0)))))

  (func $length (export "length") (export "length_unsafe") (param $handle i64) (result i64)
    (if (i32.eqz (call $is_live (local.get $handle))) (then (return (i64.const 0))))
    (i64.load align=1 (i32.wrap_i64 (i64.sub (local.get $handle) (i64.const 16)))))

  ;; All handles become invalid.
  (func $reset (export "reset")
    (call $note_used (global.get $top))
    (global.set $call (i64.add (global.get $call) (i64.const 1)))
    (global.set $top (i64.const BLOCKS_AT))
    (global.set $freed (i64.const 0))
    (call $set_input (i64.const 0) (i64.const 0))
    (global.set $output (i64.const 0))
    (global.set $output_bytes (i64.const 0))
    (global.set $error (i64.const 0)))

  (func (export "memory_bytes") (result i64) (global.get $bytes))

  ;; Input, output, error.

  (func $is_inside (param $at i64) (param $length i64) (result i32)
    (i32.and (i64.le_u (local.get $at) (global.get $bytes))
      (i64.le_u (local.get $length) (i64.sub (global.get $bytes) (local.get $at)))))

  (func $set_input (param $at i64) (param $length i64)
    (global.set $input (local.get $at))
    (global.set $input_bytes (local.get $length))
    (global.set $input_u64 (select
      (i64.sub (local.get $length) (i64.const 7)) (i64.const 0)
      (i64.gt_u (local.get $length) (i64.const 7)))))

  (func (export "input_set") (param $at i64) (param $length i64)
    (if (call $is_inside (local.get $at) (local.get $length))
      (then (call $set_input (local.get $at) (local.get $length)))))
  (func (export "input_offset") (result i64) (global.get $input))
  (func (export "input_length") (result i64) (global.get $input_bytes))

  (func (export "output_set") (param $at i64) (param $length i64)
    (if (call $is_inside (local.get $at) (local.get $length))
      (then
        (global.set $output (local.get $at))
        (global.set $output_bytes (local.get $length)))))
  (func (export "output_offset") (result i64) (global.get $output))
  (func (export "output_length") (result i64) (global.get $output_bytes))

  (func (export "error_set") (param $handle i64)
    (if (call $is_inside (local.get $handle) (i64.const 0))
      (then
        (global.set $error (local.get $handle))
        ;; The plugin may trap next.
        (drop (call $report_error)))))
  (func (export "error_get") (result i64) (global.get $error))

  ;; Reports the error that is set. Returns 0 if none is: it must be a block.
  (func $report_error (result i32)
    (if (i32.eqz (call $is_live (global.get $error))) (then (return (i32.const 0))))
    (call $guest_error (i32.wrap_i64 (global.get $error))
      (i32.wrap_i64 (call $length (global.get $error))))
    (i32.const 1))

  ;; One call.

  (func (export "__guest_call") (param $operation i32) (param $payload i32) (result i32)
    (local $at i32) (local $input i64) (local $number i32)
    (call $reset)
    (global.set $status (i32.const 0))
    (global.set $headers (i64.const 0))
    (local.set $at (i32.const OPERATION_AT))
    ;; One that is longer than all exports is received elsewhere.
    (if (i32.gt_u (local.get $operation) (i32.const OPERATION_BYTES))
      (then (local.set $at (i32.wrap_i64 (call $room (local.get $operation))))))
    (local.set $input (call $room (local.get $payload)))
    (call $guest_request (local.get $at) (i32.wrap_i64 (local.get $input)))
    (call $set_input (local.get $input) (i64.extend_i32_u (local.get $payload)))
    (local.set $number (i32.const -1))
    (if (i32.eq (local.get $at) (i32.const OPERATION_AT))
      (then (local.set $number (call $find (local.get $operation)))))
    (if (i32.eq (local.get $number) (i32.const -1))
      (then (return (call $refuse (local.get $at) (local.get $operation)))))
    (global.set $in_call (i32.const 1))
    (local.set $number (call_indirect $callables (type $callable) (local.get $number)))
    (global.set $in_call (i32.const 0))
    (call $finish (local.get $number)))

  ;; Returns the number of the export whose name is the operation, or -1.
  (func $find (param $length i32) (result i32)
    (local $number i32) (local $entry i32) (local $at i32)
    ;; What an earlier and longer one has left is not compared.
    (i64.store offset=OPERATION_AT align=1 (local.get $length) (i64.const 0))
    (block $none (loop $next
      (br_if $none (i32.ge_u (local.get $number) (i32.const NUMBER)))
      (if (i32.eq (i32.load (local.get $entry)) (local.get $length))
        (then
          (local.set $at (i32.const 0))
          (block $other (loop $word
            (if (i32.ge_u (local.get $at) (local.get $length))
              (then (return (local.get $number))))
            (br_if $other (i64.ne
              (i64.load offset=8 align=1 (i32.add (local.get $entry) (local.get $at)))
              (i64.load offset=OPERATION_AT align=1 (local.get $at))))
            (local.set $at (i32.add (local.get $at) (i32.const 8)))
            (br $word)))))
      (local.set $entry (i32.add (local.get $entry) (i32.add (i32.const 8) (i32.and (i32.const -8)
        (i32.add (i32.load (local.get $entry)) (i32.const 7))))))
      (local.set $number (i32.add (local.get $number) (i32.const 1)))
      (br $next)))
    (i32.const -1))

  (func $refuse (param $at i32) (param $length i32) (result i32)
    (if (i32.gt_u (local.get $length) (i32.const OPERATION_BYTES))
      (then (local.set $length (i32.const OPERATION_BYTES))))
    (if (i32.ne (local.get $at) (i32.const OPERATION_AT))
      (then (memory.copy (i32.const OPERATION_AT) (local.get $at) (local.get $length))))
    (memory.init $names (i32.const NOT_FOUND_AT) (i32.const 0) (i32.const 20))
    (call $guest_error (i32.const NOT_FOUND_AT) (i32.add (i32.const 20) (local.get $length)))
    (i32.const 0))

  ;; Ends a call that has returned this number: by the error if one is set, or else by the output.
  (func $finish (param $code i32) (result i32)
    (if (local.get $code)
      (then (if (i32.eqz (call $report_code (local.get $code))) (then (return (i32.const 0))))))
    (if (call $report_error) (then (return (i32.const 0))))
    (call $guest_response
      (i32.wrap_i64 (global.get $output)) (i32.wrap_i64 (global.get $output_bytes)))
    (i32.const 1))

  ;; What the host answers.

  ;; Calls the host: the names are copied from $names to the scratch, the binding first, then the
  ;; namespace unless it is a block, then the operation. A failure ends the plugin's call with the host's
  ;; text.
  (func $ask (param $from i32) (param $binding i32) (param $namespace i32) (param $operation i32)
    (param $key i64) (param $key_bytes i32) (param $payload i32) (param $payload_bytes i32)
    (local $at i32)
    (memory.init $names (i32.const SCRATCH_AT) (local.get $from)
      (i32.add (i32.add (local.get $binding) (local.get $namespace)) (local.get $operation)))
    (local.set $at (i32.add (i32.const SCRATCH_AT) (local.get $binding)))
    (if (call $host_call
        (i32.const SCRATCH_AT) (local.get $binding)
        (select (local.get $at) (i32.wrap_i64 (local.get $key)) (local.get $namespace))
        (select (local.get $namespace) (local.get $key_bytes) (local.get $namespace))
        (i32.add (local.get $at) (local.get $namespace)) (local.get $operation)
        (local.get $payload) (local.get $payload_bytes))
      (then (return)))
    (local.set $key (call $room (call $host_error_bytes)))
    (call $host_error (i32.wrap_i64 (local.get $key)))
    (call $guest_error (i32.wrap_i64 (local.get $key)) (i32.wrap_i64 (call $length (local.get $key))))
    (unreachable))

  ;; Calls a function of the environment with two blocks, each with the text for a wrong handle, and frees
  ;; them.
  (func $ask_env (param $from i32) (param $operation i32)
    (param $of_key i32) (param $key_text i32) (param $key i64)
    (param $of_value i32) (param $value_text i32) (param $value i64)
    (call $ask (local.get $from) (i32.const 15) (i32.const 0) (local.get $operation)
      (local.get $key)
      (call $bytes_of (local.get $of_key) (local.get $key_text) (local.get $key))
      (i32.wrap_i64 (local.get $value))
      (call $bytes_of (local.get $of_value) (local.get $value_text) (local.get $value)))
    (call $free (local.get $key))
    (call $free (local.get $value)))

  ;; Returns the length of a block for the host; 0 is an empty one, everything else must be live.
  (func $bytes_of (param $from i32) (param $text i32) (param $handle i64) (result i32)
    (if (i64.eqz (local.get $handle)) (then (return (i32.const 0))))
    (if (i32.eqz (call $is_live (local.get $handle)))
      (then (call $refuse_handle (local.get $from) (local.get $text) (local.get $handle))))
    (i32.wrap_i64 (call $length (local.get $handle))))

  ;; Ends the plugin's call with a text and a number.
  (func $refuse_handle (param $from i32) (param $text i32) (param $number i64)
    (local $rest i64) (local $at i32) (local $end i32)
    (memory.init $names (i32.const OPERATION_AT) (local.get $from) (local.get $text))
    (local.set $end (i32.add (i32.const OPERATION_AT) (local.get $text)))
    (local.set $rest (local.get $number))
    (loop $digit
      (local.set $end (i32.add (local.get $end) (i32.const 1)))
      (local.set $rest (i64.div_u (local.get $rest) (i64.const 10)))
      (br_if $digit (i32.eqz (i64.eqz (local.get $rest)))))
    (local.set $at (local.get $end))
    (loop $digit
      (local.set $at (i32.sub (local.get $at) (i32.const 1)))
      (i32.store8 (local.get $at)
        (i32.add (i32.const 48) (i32.wrap_i64 (i64.rem_u (local.get $number) (i64.const 10)))))
      (local.set $number (i64.div_u (local.get $number) (i64.const 10)))
      (br_if $digit (i32.eqz (i64.eqz (local.get $number)))))
    (call $guest_error (i32.const OPERATION_AT)
      (i32.sub (local.get $end) (i32.const OPERATION_AT)))
    (unreachable))

  ;; Returns the host's answer as a block, or 0 if it is empty.
  (func $take (result i64)
    (local $handle i64)
    (local.set $handle (call $room (call $answer_bytes)))
    (call $answer (i32.wrap_i64 (local.get $handle)))
    (local.get $handle))

  (func (export "config_get") (param $key i64) (result i64)
    (call $ask_env CONFIG_GET OF_CONFIG_KEY (local.get $key) OF_VAR_KEY (i64.const 0))
    (call $take))
  (func (export "var_get") (param $key i64) (result i64)
    (call $ask_env VAR_GET OF_VAR_KEY (local.get $key) OF_VAR_VALUE (i64.const 0))
    (call $take))
  (func (export "var_set") (param $key i64) (param $value i64)
    (if (i64.eqz (local.get $value))
      (then (call $ask_env VAR_DELETE OF_VAR_KEY (local.get $key) OF_VAR_VALUE (i64.const 0)))
      (else (call $ask_env VAR_SET OF_VAR_KEY (local.get $key) OF_VAR_VALUE (local.get $value)))))

  ;; The answer has the status and the length of the headers, 4 bytes each, the headers and the body.
  (func (export "http_request") (param $request i64) (param $body i64) (result i64)
    (local $all i32) (local $headers i32)
    (global.set $status (i32.const 0))
    (global.set $headers (i64.const 0))
    (call $ask_env HTTP_REQUEST OF_REQUEST (local.get $request) OF_BODY (local.get $body))
    (if (i32.lt_u (call $answer_bytes) (i32.const 8)) (then (unreachable)))
    (local.set $all (i32.wrap_i64 (call $take)))
    (global.set $status (i32.load align=1 (local.get $all)))
    (local.set $headers (i32.load offset=4 align=1 (local.get $all)))
    (global.set $headers
      (call $copy (i32.add (local.get $all) (i32.const 8)) (local.get $headers)))
    (call $copy
      (i32.add (i32.add (local.get $all) (i32.const 8)) (local.get $headers))
      (i32.sub (i32.sub (call $answer_bytes) (i32.const 8)) (local.get $headers))))
  (func $copy (param $from i32) (param $length i32) (result i64)
    (local $handle i64)
    (local.set $handle (call $room (local.get $length)))
    (memory.copy
      (i32.wrap_i64 (local.get $handle)) (local.get $from) (local.get $length))
    (local.get $handle))
  (func (export "http_status_code") (result i32) (global.get $status))
  (func (export "http_headers") (result i64) (global.get $headers))

  (func (export "get_log_level") (result i32) (i32.const LOG_LEVEL))
  (func (export "log_trace") (param i64)
    (call $log (i32.const 0) LOG_TRACE (local.get 0)))
  (func (export "log_debug") (param i64)
    (call $log (i32.const 1) LOG_DEBUG (local.get 0)))
  (func (export "log_info") (param i64)
    (call $log (i32.const 2) LOG_INFO (local.get 0)))
  (func (export "log_warn") (param i64)
    (call $log (i32.const 3) LOG_WARN (local.get 0)))
  (func (export "log_error") (param i64)
    (call $log (i32.const 4) LOG_ERROR (local.get 0)))
  (func $log (param $level i32) (param $from i32) (param $operation i32) (param $text i64)
    (if (i32.lt_s (local.get $level) (i32.const LOG_LEVEL))
      (then
        (call $free (local.get $text))
        (return)))
    (call $ask_env (local.get $from) (local.get $operation)
      OF_VAR_KEY (i64.const 0) OF_LOG (local.get $text)))

  ;; Functions of the host. The arguments are put together above all blocks: the place of the next block
  ;; and the mark of a block at 0, with which the host makes blocks of its own; then each argument; then,
  ;; for each that may be a handle, the length of its block and its bytes.

  (func $begin_arguments (param $bytes i64) (result i32)
    (if (i32.eqz (call $reserve (i64.add (global.get $top) (local.get $bytes))))
      (then (unreachable)))
    (i64.store align=1 (i32.wrap_i64 (global.get $top)) (global.get $top))
    (i64.store offset=8 align=1 (i32.wrap_i64 (global.get $top)) (call $mark (i64.const 0)))
    (i32.wrap_i64 (global.get $top)))

  ;; Appends a block, which is empty if the argument is no handle. Returns the end.
  (func $append_block (param $at i32) (param $handle i64) (result i32)
    (local $length i64)
    (local.set $length (call $length (local.get $handle)))
    (if (i32.eqz (call $reserve (i64.add (i64.const 8)
          (i64.add (i64.extend_i32_u (local.get $at)) (local.get $length)))))
      (then (unreachable)))
    (i64.store align=1 (local.get $at) (local.get $length))
    (local.set $at (i32.add (local.get $at) (i32.const 8)))
    ;; A copy of nothing from outside of the memory traps.
    (if (i64.eqz (local.get $length)) (then (return (local.get $at))))
    (memory.copy (local.get $at) (i32.wrap_i64 (local.get $handle)) (i32.wrap_i64 (local.get $length)))
    (i32.add (local.get $at) (i32.wrap_i64 (local.get $length))))

  ;; Calls a function of the host with the arguments up to $end, and returns its result. The answer is
  ;; the result, 8 bytes that are left free, and the new blocks as they are in this memory, headers and
  ;; all. They begin where the answer does, so that they need not be moved.
  (func $ask_user (param $from i32) (param $namespace i32) (param $operation i32) (param $end i32)
    (result i64)
    (local $after i64)
    (call $note_used (i64.extend_i32_u (local.get $end)))
    (call $ask (local.get $from) (i32.const 16) (local.get $namespace) (local.get $operation)
      (i64.const 0) (i32.const 0) (i32.wrap_i64 (global.get $top))
      (i32.sub (local.get $end) (i32.wrap_i64 (global.get $top))))
    (if (i32.lt_u (call $answer_bytes) (i32.const 16)) (then (unreachable)))
    (local.set $after (i64.and (i64.const -16) (i64.add (i64.const 15)
      (i64.add (global.get $top) (i64.extend_i32_u (call $answer_bytes))))))
    (if (i32.eqz (call $reserve (local.get $after))) (then (unreachable)))
    (call $answer (i32.wrap_i64 (global.get $top)))
    (i64.load align=1 (i32.wrap_i64 (global.get $top)))
    (global.set $top (local.get $after)))

  (func $note_used (param $end i64)
    (if (i64.gt_u (local.get $end) (global.get $used))
      (then (global.set $used (local.get $end)))))

  FUNCTIONS)
