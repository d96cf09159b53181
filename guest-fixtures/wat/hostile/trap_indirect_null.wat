;; Calls an empty element of its table.
;; expect: trap indirect-call-null
(module
  (import "wapc" "__guest_response" (func $guest_response (param i32 i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "good")
  (type $step (func (param i32) (result i32)))
  (table $table 2 funcref)
  (elem (i32.const 0) $other)

  (func (export "__guest_call") (param $op_len i32) (param $msg_len i32) (result i32)
    (if (i32.eq (local.get $op_len) (i32.const 4))
      (then
        (call $guest_response (i32.const 0) (i32.const 4))
        (return (i32.const 1))))
    (call_indirect (type $step) (local.get $op_len) (i32.const 1)))

  (func $other (result i32)
    (i32.const 1)))
