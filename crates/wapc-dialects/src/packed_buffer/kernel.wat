;; Stands between a plugin that packs buffers into numbers and its host.
;;
;; Own memory: names for dispatch, names of the host's functions, the beginning of a refusal, then the
;; operation and the payload of a call, and what the host answers.
(module
  (type $packed (func (param i64) (result i64)))
  (import "wapc" "__guest_request" (func $guest_request (param i32 i32)))
  (import "wapc" "__guest_response" (func $guest_response (param i32 i32)))
  (import "wapc" "__guest_error" (func $guest_error (param i32 i32)))
  (import "wapc" "__host_call"
    (func $host_call (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "wapc" "__host_response_len" (func $answer_bytes (result i32)))
  (import "wapc" "__host_response" (func $answer (param i32)))
  (import "wapc" "__host_error_len" (func $host_error_bytes (result i32)))
  (import "wapc" "__host_error" (func $host_error (param i32)))
  (import "plugin" "memory" (memory $theirs 0))
  (import "plugin" "__alloc_buffer" (func $alloc (param i32) (result i32)))
  (import "plugin" "__free_buffer" (func $free (param i64)))
  IMPORTS
  (memory $own (export "memory") PAGES)
  (table $operations NUMBER funcref)
  (elem (table $operations) (i32.const 0) func ELEMENTS)
  DATA

  (func (export "__guest_call") (param $operation i32) (param $payload i32) (result i32)
    (local $number i32) (local $buffer i64)
    (call $receive (local.get $operation) (local.get $payload))
    (local.set $number (call $find (local.get $operation)))
    (if (i32.eq (local.get $number) (i32.const -1))
      (then (return (call $refuse (local.get $operation)))))
    (local.set $buffer
      (call_indirect $operations (type $packed)
        (call $lend (i32.add (local.get $operation) (i32.const OPERATION_AT)) (local.get $payload))
        (local.get $number)))
    (call $guest_response (i32.const OPERATION_AT) (call $take (local.get $buffer)))
    (i32.const 1))

  ;; Copies bytes of the own memory into a new buffer of the plugin's.
  (func $lend (param $at i32) (param $bytes i32) (result i64)
    (local $buffer i32)
    (local.set $buffer (call $alloc (local.get $bytes)))
    (memory.copy $theirs $own (local.get $buffer) (local.get $at) (local.get $bytes))
    (i64.or
      (i64.shl (i64.extend_i32_u (local.get $buffer)) (i64.const 32))
      (i64.extend_i32_u (local.get $bytes))))

  ;; Copies a buffer of the plugin's behind the names, and frees it. Returns its length.
  (func $take (param $buffer i64) (result i32)
    (if (i32.eqz (call $is_theirs (i32.wrap_i64 (i64.shr_u (local.get $buffer) (i64.const 32)))
        (i64.and (local.get $buffer) (i64.const 0xffffffff))))
      (then (unreachable)))
    (if (i32.eqz (call $reserve (i64.add (i64.const OPERATION_AT)
        (i64.and (local.get $buffer) (i64.const 0xffffffff)))))
      (then (unreachable)))
    (memory.copy $own $theirs
      (i32.const OPERATION_AT)
      (i32.wrap_i64 (i64.shr_u (local.get $buffer) (i64.const 32)))
      (i32.wrap_i64 (local.get $buffer)))
    (call $free (local.get $buffer))
    (i32.wrap_i64 (local.get $buffer)))

  ;; Calls the host's function of this name. A failure ends the plugin's call: its functions for the
  ;; host cannot fail.
  (func $ask (param $name i32) (param $length i32) (param $buffer i64) (result i64)
    (if (i32.eqz (call $host_call
        (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
        (local.get $name) (local.get $length)
        (i32.const OPERATION_AT) (call $take (local.get $buffer))))
      (then
        (local.set $length (call $host_error_bytes))
        (if (i32.eqz (call $reserve
            (i64.add (i64.const OPERATION_AT) (i64.extend_i32_u (local.get $length)))))
          (then (unreachable)))
        (call $host_error (i32.const OPERATION_AT))
        (call $guest_error (i32.const OPERATION_AT) (local.get $length))
        (unreachable)))
    (local.set $length (call $answer_bytes))
    (if (i32.eqz (call $reserve
        (i64.add (i64.const OPERATION_AT) (i64.extend_i32_u (local.get $length)))))
      (then (unreachable)))
    (call $answer (i32.const OPERATION_AT))
    (call $lend (i32.const OPERATION_AT) (local.get $length)))

  STUBS
  DISPATCH
  COMMON)
