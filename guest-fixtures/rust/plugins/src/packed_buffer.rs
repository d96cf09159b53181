//! A plugin that packs buffers into numbers: the address above, the length below. `echo` and `fail` are
//! answered by its host.

use std::mem::ManuallyDrop;

#[link(wasm_import_module = "env")]
unsafe extern "C" {
    #[link_name = "__echo"]
    fn host_echo(buffer: u64) -> u64;
    #[link_name = "__fail"]
    fn host_fail(buffer: u64) -> u64;
}

#[unsafe(no_mangle)]
extern "C" fn __alloc_buffer(bytes: u32) -> u32 {
    ManuallyDrop::new(Vec::<u8>::with_capacity(bytes as usize)).as_mut_ptr() as u32
}

#[unsafe(no_mangle)]
extern "C" fn __free_buffer(buffer: u64) {
    let (address, bytes) = ((buffer >> 32) as usize, buffer as u32 as usize);
    // SAFETY: it comes from `__alloc_buffer`, and holds so many bytes.
    drop(unsafe { Vec::from_raw_parts(address as *mut u8, 0, bytes) });
}

#[unsafe(no_mangle)]
extern "C" fn __echo(buffer: u64) -> u64 {
    // SAFETY: the host returns a buffer of its own.
    unsafe { host_echo(buffer) }
}

#[unsafe(no_mangle)]
extern "C" fn __fail(buffer: u64) -> u64 {
    // SAFETY: the host returns a buffer of its own, if it returns.
    unsafe { host_fail(buffer) }
}

#[unsafe(no_mangle)]
extern "C" fn __trap(_: u64) -> u64 {
    core::arch::wasm32::unreachable()
}

#[unsafe(no_mangle)]
extern "C" fn __loop(_: u64) -> u64 {
    loop {
        std::hint::spin_loop();
    }
}
