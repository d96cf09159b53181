;; A plugin that packs buffers into numbers. `echo` is answered by its host.
(module
  (type $packed (func (param i64) (result i64)))
  (import "env" "__echo" (func $echo (type $packed)))
  (import "env" "__fail" (func $fail (type $packed)))
  (memory (export "memory") 2)
  ;; One buffer at a time is enough.
  (func (export "__alloc_buffer") (param i32) (result i32) (i32.const 1024))
  (func (export "__free_buffer") (param i64))
  (func (export "__echo") (type $packed) (call $echo (local.get 0)))
  (func (export "__fail") (type $packed) (call $fail (local.get 0)))
  (func (export "__trap") (type $packed) (unreachable))
  (func (export "__loop") (type $packed) (loop (br 0)) (unreachable)))
