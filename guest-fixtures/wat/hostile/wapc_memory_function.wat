;; Exports a function by the name of waPC's own memory.
;; expect: module export-type wapc:memory
(module
  (memory (export "memory") 1)
  (func (export "wapc:memory"))
  (func (export "__guest_call") (param i32 i32) (result i32) (i32.const 1)))
