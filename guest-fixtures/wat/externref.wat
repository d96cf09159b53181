;; Has a table of externref, which some engines know only with garbage collection: answers whether its first slot is empty.
;; expect: ok yes
(module
  (import "wapc" "__guest_response" (func $guest_response (param i32 i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "yes")
  (table $slots 2 externref)

  (func $is_empty (param $slot externref) (result i32)
    (ref.is_null (local.get $slot)))

  (func (export "__guest_call") (param $op_len i32) (param $msg_len i32) (result i32)
    (if (call $is_empty (table.get $slots (i32.const 0)))
      (then (call $guest_response (i32.const 0) (i32.const 3))))
    (i32.const 1)))
