//! What the macro refuses, by its message and the place of it.
//!
//! `TRYBUILD=overwrite cargo test -p wapc-typed --test misuse` writes the messages anew.

#[test]
fn each_misuse_has_a_message_at_its_place() {
    trybuild::TestCases::new().compile_fail("tests/misuse/*.rs");
}
