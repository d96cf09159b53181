;; Its __guest_call returns nothing.
;; expect: module guest-call-type
(module
  (memory (export "memory") 1)
  (data (i32.const 0) "good")

  (func (export "__guest_call") (param i32 i32)))
