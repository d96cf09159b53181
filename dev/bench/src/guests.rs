//! The guests: what each subject hosts, in the dialect that it speaks.

use std::sync::{Arc, LazyLock};

use guest_fixtures::generate::{Entry, large_guest};

/// How host and guest talk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Dialect {
    Wapc,
    /// Extism has calls of its own; its guests export `echo`.
    Extism,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Guest {
    /// Answers with the payload.
    Echo,
    /// Makes one host call with the payload, and answers with the host's answer.
    EchoHost,
    /// Makes ten such host calls, one after the other.
    EchoHostTen,
    /// Answers with the payload, and carries some 400 KB of other code.
    Large,
}

impl Guest {
    pub fn bytes(self, dialect: Dialect) -> Arc<[u8]> {
        static WAPC: LazyLock<[Arc<[u8]>; 4]> = LazyLock::new(|| {
            [
                fixture("echo"),
                fixture("echo_host"),
                assemble(include_str!("../guests/echo_host_10.wat")),
                large_guest(Entry::Echo, 0).into(),
            ]
        });
        static EXTISM: LazyLock<[Arc<[u8]>; 4]> = LazyLock::new(|| {
            [
                assemble(include_str!("../guests/extism_echo.wat")),
                assemble(include_str!("../guests/extism_echo_host.wat")),
                assemble(include_str!("../guests/extism_echo_host_10.wat")),
                large_guest(Entry::ExtismEcho, 0).into(),
            ]
        });
        let guests = match dialect {
            Dialect::Wapc => &WAPC,
            Dialect::Extism => &EXTISM,
        };
        guests[self as usize].clone()
    }
}

fn fixture(name: &str) -> Arc<[u8]> {
    assemble(guest_fixtures::wat(name).expect("a fixture of this name"))
}

fn assemble(text: &str) -> Arc<[u8]> {
    wat::parse_str(text)
        .expect("a guest of this repository assembles")
        .into()
}
