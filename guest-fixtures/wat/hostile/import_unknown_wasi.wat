;; Imports a WASI function that does not exist.
;; expect: module unknown-import wasi_snapshot_preview1.fd_telepathy
(module
  (import "wapc" "__guest_response" (func $guest_response (param i32 i32)))
  (import "wasi_snapshot_preview1" "fd_telepathy" (func (param i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "good")

  (func (export "__guest_call") (param $op_len i32) (param $msg_len i32) (result i32)
    (call $guest_response (i32.const 0) (i32.const 4))
    (i32.const 1)))
