//! Writes standard input to standard output in upper case.

use std::io::{self, Read, Write};

fn main() -> io::Result<()> {
    let mut input = vec![];
    io::stdin().read_to_end(&mut input)?;
    io::stdout().write_all(&input.to_ascii_uppercase())
}
