;; Exports _start, _initialize and wapc_init: any operation answers the order in which they ran, one letter each ("SIW").
;; expect: ok SIW
(module
  (import "wapc" "__guest_response" (func $guest_response (param i32 i32)))
  (memory (export "memory") 1)
  (global $len (mut i32) (i32.const 0))

  ;; The order of the exports is not the order of the calls.
  (func (export "wapc_init") (call $append (i32.const 87)))
  (func (export "_initialize") (call $append (i32.const 73)))
  (func (export "_start") (call $append (i32.const 83)))

  (func $append (param $letter i32)
    (i32.store8 (global.get $len) (local.get $letter))
    (global.set $len (i32.add (global.get $len) (i32.const 1))))

  (func (export "__guest_call") (param $op_len i32) (param $msg_len i32) (result i32)
    (call $guest_response (i32.const 0) (global.get $len))
    (i32.const 1)))
