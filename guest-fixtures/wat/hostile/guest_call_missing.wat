;; Exports no __guest_call.
;; expect: module missing-guest-call
(module
  (memory (export "memory") 1)
  (data (i32.const 0) "good"))
