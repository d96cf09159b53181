;; Exports a global as __guest_call.
;; expect: module guest-call-type
(module
  (memory (export "memory") 1)
  (data (i32.const 0) "good")

  (global (export "__guest_call") i32 (i32.const 1)))
