//! A WASI command: `Echo` is answered with itself; `fail`, `trap` and `loop` do what they say.

use std::{
    io::{self, Read, Write},
    process,
};

fn main() -> io::Result<()> {
    let mut input = vec![];
    io::stdin().read_to_end(&mut input)?;
    match &input[..] {
        b"fail" => process::exit(3),
        b"trap" => core::arch::wasm32::unreachable(),
        b"loop" => loop {
            std::hint::spin_loop();
        },
        _ => io::stdout().write_all(&input),
    }
}
