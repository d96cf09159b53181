;; Aborts as AssemblyScript does: `abort` calls env.abort("over the edge", "guest.ts", 12, 5), `abort_wild` calls it with wild pointers; anything else answers "alive".
;; expect: trap unreachable
;; needs: the operation `abort`
(module
  (import "env" "abort" (func $abort (param i32 i32 i32 i32)))
  (import "wapc" "__guest_response" (func $guest_response (param i32 i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "alive")
  ;; A string of AssemblyScript: its length in bytes four bytes before its UTF-16 text.
  (data (i32.const 60) "\1a\00\00\00o\00v\00e\00r\00 \00t\00h\00e\00 \00e\00d\00g\00e\00")
  (data (i32.const 124) "\10\00\00\00g\00u\00e\00s\00t\00.\00t\00s\00")

  ;; The operations are told apart by the length of their names.
  (func (export "__guest_call") (param $op_len i32) (param $msg_len i32) (result i32)
    (if (i32.eq (local.get $op_len) (i32.const 5))
      (then
        (call $abort (i32.const 64) (i32.const 128) (i32.const 12) (i32.const 5))
        (unreachable)))
    (if (i32.eq (local.get $op_len) (i32.const 10))
      (then
        ;; One past every memory, one whose length field would begin before address 0.
        (call $abort (i32.const 0xfffffff0) (i32.const 2) (i32.const -1) (i32.const -1))
        (unreachable)))
    (call $guest_response (i32.const 0) (i32.const 5))
    (i32.const 1)))
