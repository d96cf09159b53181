//! Guests that try to exceed limits.

use guest_fixtures::wat;

/// Returns a guest of the gallery by its name.
pub(crate) fn of_the_gallery(name: &str) -> Vec<u8> {
    let text = wat(&format!("hostile/{name}")).expect("a guest of this name");
    text.as_bytes().to_vec()
}

/// Makes a guest with these declarations, a memory among them, and this code in each
/// call. The code may use `$len`, the length of the payload; `$ask`, a host call; and
/// `$say`, which responds with a number.
pub(crate) fn guest(declarations: &str, code: &str) -> Vec<u8> {
    format!(
        r#"(module
            (import "wapc" "__guest_response" (func $respond (param i32 i32)))
            (import "wapc" "__guest_error" (func $fail (param i32 i32)))
            (import "wapc" "__host_call"
                (func $host_call (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
            (import "wapc" "__host_response_len" (func $answer_length (result i32)))
            (import "wapc" "__console_log" (func $log (param i32 i32)))
            (import "wasi_snapshot_preview1" "path_open"
                (func $path_open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
            {declarations}
            (func $ask_with (param $bytes i32) (result i32)
                (call $host_call
                    (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
                    (i32.const 0) (i32.const 0) (i32.const 0) (local.get $bytes)))
            (func $ask (drop (call $ask_with (i32.const 0))))
            (func $say (param $number i32)
                (i32.store (i32.const 0) (local.get $number))
                (call $respond (i32.const 0) (i32.const 4)))
            (func (export "__guest_call") (param $op_len i32) (param $len i32) (result i32)
                (local $count i32)
                {code}
                (i32.const 1)))"#
    )
    .into_bytes()
}

/// A memory of one page.
pub(crate) const MEMORY: &str = r#"(memory (export "memory") 1)"#;

/// Returns the number in a guest's response.
pub(crate) fn number(response: &[u8]) -> u64 {
    let bytes = response.try_into().expect("four bytes of a number");
    u32::from_le_bytes(bytes).into()
}
