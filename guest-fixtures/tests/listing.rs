//! The folder, the listings and the checksums agree.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use guest_fixtures::{PLUGINS, WASM, WAT, plugin, wasm, wat};
use sha2::{Digest, Sha256};

/// File name and SHA-256 in hexadecimal.
type Checksums = BTreeMap<String, String>;

fn hexadecimal_sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[test]
fn checksums_are_those_of_the_committed_guests() {
    for (folder, listing) in [("wasm", WASM), ("rust/plugins", PLUGINS)] {
        assert_checksums(folder, listing);
    }
}

fn assert_checksums(folder: &str, listing: &[(&str, &[u8])]) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut listed = Checksums::new();
    for line in fs::read_to_string(folder.join("SHA256SUMS"))
        .expect("SHA256SUMS is there")
        .lines()
    {
        let (checksum, file) = line.split_once("  ").expect("CHECKSUM  FILE");
        listed.insert(file.to_owned(), checksum.to_owned());
    }

    let mut committed = Checksums::new();
    for entry in fs::read_dir(&folder).expect("the folder is there") {
        let path = entry.expect("the folder can be read").path();
        if path
            .extension()
            .is_some_and(|extension| extension == "wasm")
        {
            let file = path.file_name().expect("a file").to_string_lossy();
            let bytes = fs::read(&path).expect("a guest can be read");
            committed.insert(file.into_owned(), hexadecimal_sha256(&bytes));
        }
    }
    assert_eq!(listed, committed);

    let handed_out: Checksums = listing
        .iter()
        .map(|(name, bytes)| (format!("{name}.wasm"), hexadecimal_sha256(bytes)))
        .collect();
    assert_eq!(handed_out, committed);
}

#[test]
fn guests_are_found_by_name() {
    for (name, bytes) in WASM {
        assert_eq!(wasm(name), Some(*bytes));
    }
    for (name, text) in WAT {
        assert_eq!(wat(name), Some(*text));
    }
    for (name, bytes) in PLUGINS {
        assert_eq!(plugin(name), Some(*bytes));
    }
    assert_eq!(wasm("hello"), None);
    assert_eq!(wat("hello.wat"), None);
}

#[test]
fn listings_are_sorted() {
    assert!(WASM.is_sorted_by(|a, b| a.0 < b.0));
    assert!(PLUGINS.is_sorted_by(|a, b| a.0 < b.0));
    assert!(WAT.is_sorted_by(|a, b| a.0 < b.0));
}
