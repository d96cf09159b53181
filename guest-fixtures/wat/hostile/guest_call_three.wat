;; Its __guest_call takes three numbers.
;; expect: module guest-call-type
(module
  (memory (export "memory") 1)
  (data (i32.const 0) "good")

  (func (export "__guest_call") (param i32 i32 i32) (result i32)
    (i32.const 1)))
