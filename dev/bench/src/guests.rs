//! The guests of the subjects, in each subject's dialect.

use std::sync::{Arc, LazyLock};

use guest_fixtures::generate::{Entry, large_guest};

/// The protocol between host and guest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Dialect {
    Wapc,
    /// Extism's own protocol; its guests export `echo`.
    #[cfg_attr(
        not(feature = "peer-extism"),
        expect(dead_code, reason = "only that peer speaks it")
    )]
    Extism,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Guest {
    /// Responds with the payload.
    Echo,
    /// Makes one host call with the payload, and responds with the host's answer.
    EchoHost,
    /// Makes ten such host calls in turn.
    EchoHostTen,
    /// Responds with the payload, and has about 400 KB of other code and data.
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
