  ;; Takes the request: the operation at OPERATION_AT, and the payload behind it.
  (func $receive (param $operation i32) (param $payload i32)
    (if (i32.eqz (call $reserve (i64.add (i64.const OPERATION_AT) (i64.add
        (i64.extend_i32_u (local.get $operation)) (i64.extend_i32_u (local.get $payload))))))
      (then (unreachable)))
    (call $guest_request
      (i32.const OPERATION_AT) (i32.add (i32.const OPERATION_AT) (local.get $operation))))

  ;; Returns the number of the operation at OPERATION_AT, or -1. The names are at 0: each its length
  ;; and its bytes.
  (func $find (param $length i32) (result i32)
    (local $number i32) (local $at i32) (local $same i32)
    (block $none (loop $next
      (br_if $none (i32.eq (local.get $number) (i32.const NUMBER)))
      (if (i32.eq (i32.load $own (local.get $at)) (local.get $length))
        (then
          (local.set $same (i32.const 0))
          (block $other (loop $byte
            (if (i32.eq (local.get $same) (local.get $length))
              (then (return (local.get $number))))
            (br_if $other (i32.ne
              (i32.load8_u $own offset=4 (i32.add (local.get $at) (local.get $same)))
              (i32.load8_u $own offset=OPERATION_AT (local.get $same))))
            (local.set $same (i32.add (local.get $same) (i32.const 1)))
            (br $byte)))))
      (local.set $at (i32.add (i32.const 4)
        (i32.add (local.get $at) (i32.load $own (local.get $at)))))
      (local.set $number (i32.add (local.get $number) (i32.const 1)))
      (br $next)))
    (i32.const -1))

  ;; Reports that there is no such operation. The beginning of that is in front of it.
  (func $refuse (param $length i32) (result i32)
    (call $guest_error (i32.const REFUSAL_AT)
      (i32.add (i32.const REFUSAL_BYTES) (local.get $length)))
    (i32.const 0))
