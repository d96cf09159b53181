;; Does not validate: its __guest_call leaves an i64 where an i32 is due.
;; expect: module invalid
(module
  (memory (export "memory") 1)
  (data (i32.const 0) "good")

  (func (export "__guest_call") (param i32 i32) (result i32)
    (i64.const 1)))
