;; Sixty-four memories of 16 MiB, of which one is exported: a limit on each does not limit them all.
;; expect: limit memory
;; needs: a memory limit below 1 GiB, or a limit on the number of memories
(module
  (import "wapc" "__guest_response" (func $guest_response (param i32 i32)))
  (memory (export "memory") 256)
  (data (i32.const 0) "good")
  (memory 256) (memory 256) (memory 256) (memory 256) (memory 256) (memory 256) (memory 256)
  (memory 256) (memory 256) (memory 256) (memory 256) (memory 256) (memory 256) (memory 256)
  (memory 256) (memory 256) (memory 256) (memory 256) (memory 256) (memory 256) (memory 256)
  (memory 256) (memory 256) (memory 256) (memory 256) (memory 256) (memory 256) (memory 256)
  (memory 256) (memory 256) (memory 256) (memory 256) (memory 256) (memory 256) (memory 256)
  (memory 256) (memory 256) (memory 256) (memory 256) (memory 256) (memory 256) (memory 256)
  (memory 256) (memory 256) (memory 256) (memory 256) (memory 256) (memory 256) (memory 256)
  (memory 256) (memory 256) (memory 256) (memory 256) (memory 256) (memory 256) (memory 256)
  (memory 256) (memory 256) (memory 256) (memory 256) (memory 256) (memory 256) (memory 256)

  (func (export "__guest_call") (param $op_len i32) (param $msg_len i32) (result i32)
    (call $guest_response (i32.const 0) (i32.const 4))
    (i32.const 1)))
