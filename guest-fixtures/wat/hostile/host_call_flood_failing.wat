;; Makes host calls that fail, for ever: a failed call counts too.
;; expect: limit host-calls
(module
  (import "wapc" "__guest_response" (func $guest_response (param i32 i32)))
  (import "wapc" "__host_call"
    (func $host_call (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "goodbindnsfailpingfine")

  (func (export "__guest_call") (param $op_len i32) (param $msg_len i32) (result i32)
    (if (i32.eq (local.get $op_len) (i32.const 4))
      (then
        (call $guest_response (i32.const 0) (i32.const 4))
        (return (i32.const 1))))
    (loop $for_ever
      (drop
        (call $host_call
          (i32.const 4) (i32.const 4)
          (i32.const 8) (i32.const 2)
          (i32.const 10) (i32.const 4)
          (i32.const 14) (i32.const 4)))
      (br $for_ever))
    (unreachable)))
