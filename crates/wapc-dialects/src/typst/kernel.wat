;; Stands between a Typst plugin and its host.
;;
;; Own memory: names for dispatch, messages, then the operation and the payload of a call, and the
;; plugin's result.
(module
  (type $operation (func (result i32)))
  (import "wapc" "__guest_request" (func $guest_request (param i32 i32)))
  (import "wapc" "__guest_response" (func $guest_response (param i32 i32)))
  (import "wapc" "__guest_error" (func $guest_error (param i32 i32)))
  (import "plugin" "memory" (memory $theirs 0))
  IMPORTS
  (memory $own (export "memory") PAGES)
  (table $operations NUMBER funcref)
  (elem (table $operations) (i32.const 0) func ELEMENTS)
  DATA

  ;; The payload that is not unframed yet.
  (global $payload (mut i32) (i32.const 0))
  (global $payload_end (mut i32) (i32.const 0))
  ;; The arguments, one behind the other.
  (global $arguments (mut i32) (i32.const 0))
  (global $arguments_end (mut i32) (i32.const 0))
  ;; The result, or an error's text; -1 before there is one.
  (global $result_bytes (mut i32) (i32.const -1))

  (func (export "__guest_call") (param $operation i32) (param $payload i32) (result i32)
    (local $number i32) (local $outcome i32)
    (call $receive (local.get $operation) (local.get $payload))
    (local.set $number (call $find (local.get $operation)))
    (if (i32.eq (local.get $number) (i32.const -1))
      (then (return (call $refuse (local.get $operation)))))
    (global.set $payload (i32.add (local.get $operation) (i32.const OPERATION_AT)))
    (global.set $payload_end (i32.add (global.get $payload) (local.get $payload)))
    (global.set $arguments (global.get $payload))
    (global.set $arguments_end (global.get $payload))
    (global.set $result_bytes (i32.const -1))
    (local.set $outcome
      (call_indirect $operations (type $operation) (local.get $number)))
    (if (i32.gt_u (local.get $outcome) (i32.const 1)) (then (unreachable)))
    ;; Without a result the host says that there is no response, or no error.
    (if (i32.ne (global.get $result_bytes) (i32.const -1))
      (then
        (if (local.get $outcome)
          (then (call $guest_error (global.get $payload_end) (global.get $result_bytes)))
          (else (call $guest_response (global.get $payload_end) (global.get $result_bytes))))))
    (i32.eqz (local.get $outcome)))

  ;; Moves the next argument out of its frame. Returns its length.
  (func $unframe (result i32)
    (local $left i32) (local $bytes i32)
    (local.set $left (i32.sub (global.get $payload_end) (global.get $payload)))
    (if (i32.lt_u (local.get $left) (i32.const 4)) (then (call $misframed)))
    (local.set $bytes (i32.load $own (global.get $payload)))
    (if (i32.lt_u (i32.sub (local.get $left) (i32.const 4)) (local.get $bytes))
      (then (call $misframed)))
    (memory.copy $own $own
      (global.get $arguments_end)
      (i32.add (global.get $payload) (i32.const 4))
      (local.get $bytes))
    (global.set $arguments_end (i32.add (global.get $arguments_end) (local.get $bytes)))
    (global.set $payload
      (i32.add (i32.add (global.get $payload) (i32.const 4)) (local.get $bytes)))
    (local.get $bytes))

  ;; Takes the payload for the only argument. Returns its length.
  (func $whole (result i32)
    (global.set $arguments_end (global.get $payload_end))
    (i32.sub (global.get $payload_end) (global.get $payload)))

  ;; Checks that the arguments are the whole payload.
  (func $used
    (if (i32.ne (global.get $payload) (global.get $payload_end)) (then (call $misframed))))

  (func $misframed
    (call $guest_error (i32.const MISFRAMED_AT) (i32.const MISFRAMED_BYTES))
    (unreachable))

  (func (export "wasm_minimal_protocol_write_args_to_buffer") (param $at i32)
    (memory.copy $theirs $own (local.get $at) (global.get $arguments)
      (i32.sub (global.get $arguments_end) (global.get $arguments))))

  (func (export "wasm_minimal_protocol_send_result_to_host") (param $at i32) (param $bytes i32)
    (if (i32.eqz (call $is_theirs (local.get $at) (i64.extend_i32_u (local.get $bytes))))
      (then (unreachable)))
    (if (i32.eqz (call $reserve (i64.add
        (i64.extend_i32_u (global.get $payload_end)) (i64.extend_i32_u (local.get $bytes)))))
      (then (unreachable)))
    (memory.copy $own $theirs (global.get $payload_end) (local.get $at) (local.get $bytes))
    (global.set $result_bytes (local.get $bytes)))

  STUBS
  DISPATCH
  COMMON)
