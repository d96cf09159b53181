//! A Typst plugin: `echo` returns its argument; `fail`, `trap` and `loop` do what they say.

#[link(wasm_import_module = "typst_env")]
unsafe extern "C" {
    fn wasm_minimal_protocol_write_args_to_buffer(buffer: *mut u8);
    fn wasm_minimal_protocol_send_result_to_host(result: *const u8, bytes: usize);
}

fn argument(bytes: usize) -> Vec<u8> {
    let mut argument = vec![0; bytes];
    // SAFETY: the buffer has the length that the host has announced.
    unsafe { wasm_minimal_protocol_write_args_to_buffer(argument.as_mut_ptr()) };
    argument
}

fn send(result: &[u8]) {
    // SAFETY: the host copies these bytes before it returns.
    unsafe { wasm_minimal_protocol_send_result_to_host(result.as_ptr(), result.len()) };
}

#[unsafe(no_mangle)]
extern "C" fn echo(bytes: usize) -> i32 {
    send(&argument(bytes));
    0
}

#[unsafe(no_mangle)]
extern "C" fn fail(_: usize) -> i32 {
    send(b"failed");
    1
}

#[unsafe(no_mangle)]
extern "C" fn trap(_: usize) -> i32 {
    core::arch::wasm32::unreachable()
}

#[unsafe(export_name = "loop")]
extern "C" fn endless(_: usize) -> i32 {
    loop {
        std::hint::spin_loop();
    }
}
