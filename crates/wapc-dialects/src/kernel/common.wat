  ;; Grows the own memory to that many bytes. Returns 0 if it cannot.
  (func $reserve (param $bytes i64) (result i32)
    (local $missing i64)
    (local.set $missing (i64.sub
      (i64.shr_u (i64.add (local.get $bytes) (i64.const 65535)) (i64.const 16))
      (i64.extend_i32_u (memory.size $own))))
    (if (i64.le_s (local.get $missing) (i64.const 0)) (then (return (i32.const 1))))
    (if (i64.gt_s (local.get $missing) (i64.const 65536)) (then (return (i32.const 0))))
    ;; Twice as much, so that a long output is moved seldom; or else what it takes.
    (if (i32.ne (i32.const -1)
        (memory.grow $own (i32.add (memory.size $own) (i32.wrap_i64 (local.get $missing)))))
      (then (return (i32.const 1))))
    (i32.ne (i32.const -1) (memory.grow $own (i32.wrap_i64 (local.get $missing)))))

  ;; Returns whether their memory has these bytes.
  (func $is_theirs (param $at i32) (param $bytes i64) (result i32)
    (i64.le_u
      (i64.add (i64.extend_i32_u (local.get $at)) (local.get $bytes))
      (i64.shl (i64.extend_i32_u (memory.size $theirs)) (i64.const 16))))
