;; Imports three things of different kinds that nobody provides: the one that is named is the first by name, however an engine lists them.
;; expect: module unknown-import nope.a
(module
  (import "wapc" "__guest_response" (func $guest_response (param i32 i32)))
  (import "nope" "b" (table 1 funcref))
  (import "nope" "c" (func))
  (import "nope" "a" (global i32))
  (memory (export "memory") 1)
  (data (i32.const 0) "good")

  (func (export "__guest_call") (param $op_len i32) (param $msg_len i32) (result i32)
    (call $guest_response (i32.const 0) (i32.const 4))
    (i32.const 1)))
