;; Keeps a local on the stack under blocks with parameters, and answers "good" if it is still the same.
;; expect: ok good
(module
  (import "wapc" "__guest_response" (func $guest_response (param i32 i32)))
  (memory (export "memory") 1 1)
  (data (i32.const 0) "good")

  (func $kept (param $if i32) (result i32) (local $zero i32)
    ;; Leaves something else where the local will be kept.
    memory.size
    i32.const 65536
    i32.mul
    memory.size
    i32.const 1
    i32.add
    i32.le_u
    if
    end
    local.get $zero
    memory.size
    local.get $if
    if (param i32)
      memory.size
      i32.eqz
      if (param i32)
        drop
        memory.size
        if
        end
      else
        drop
      end
    else
      block (param i32)
        br_if 0
        memory.size
        if
        end
      end
    end)

  (func (export "__guest_call") (param $op_len i32) (param $msg_len i32) (result i32)
    (call $guest_response
      (i32.or (call $kept (i32.const 0)) (call $kept (i32.const 1)))
      (i32.const 4))
    (i32.const 1)))
