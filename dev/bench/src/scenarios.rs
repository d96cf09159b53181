//! The scenarios and their units.

use crate::guests::Guest;
use crate::subject::{Action, Task};

pub struct Scenario {
    /// The name on the command line.
    pub name: &'static str,
    pub group: Group,
    /// The header of its column.
    pub label: &'static str,
    pub measure: Measure,
    pub action: Action,
    pub guest: Guest,
    pub payload_bytes: usize,
}

/// Scenarios that share a table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Group {
    Call,
    Throughput,
    Cold,
    Fresh,
    Replace,
    Memory,
    Allocations,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Measure {
    /// Nanoseconds of each repetition.
    Time,
    /// Repetitions per second of all threads together.
    Rate { threads: usize },
    /// KiB of resident memory of each repetition, in a process of its own.
    Resident,
    /// Allocations of each repetition.
    Allocations,
}

pub const GROUPS: &[Group] = &[
    Group::Call,
    Group::Throughput,
    Group::Cold,
    Group::Fresh,
    Group::Replace,
    Group::Memory,
    Group::Allocations,
];

impl Group {
    pub fn title(self) -> &'static str {
        match self {
            Self::Call => "One call (the echo of a payload; one and ten host calls with 64 B)",
            Self::Throughput => "Calls a second (echo of 64 B)",
            Self::Cold => "Cold start: from bytes to the first answer, engine and all",
            Self::Fresh => "A fresh instance for each call (echo of 64 B), calls a second",
            Self::Replace => "Replacing the module that runs, up to the first answer",
            Self::Memory => "Resident memory of each further host of the same module",
            Self::Allocations => "Allocations for each call",
        }
    }
}

impl Scenario {
    pub fn task(&self) -> Task {
        Task::new(self.action, self.guest, self.payload_bytes)
    }
}

pub const SCENARIOS: &[Scenario] = &[
    echo("echo-0", "0 B", 0),
    echo("echo-64", "64 B", 64),
    echo("echo-1k", "1 KiB", 1 << 10),
    echo("echo-64k", "64 KiB", 64 << 10),
    echo("echo-1m", "1 MiB", 1 << 20),
    Scenario {
        guest: Guest::EchoHost,
        ..echo("host-call", "host call", 64)
    },
    Scenario {
        guest: Guest::EchoHostTen,
        ..echo("host-calls-10", "10 host calls", 64)
    },
    Scenario {
        group: Group::Throughput,
        measure: Measure::Rate { threads: 1 },
        ..echo("threads-1", "1 thread", 64)
    },
    Scenario {
        group: Group::Throughput,
        measure: Measure::Rate { threads: 2 },
        ..echo("threads-2", "2 threads", 64)
    },
    Scenario {
        action: Action::ColdStart,
        group: Group::Cold,
        ..echo("cold-tiny", "tiny guest", 64)
    },
    Scenario {
        action: Action::ColdStart,
        group: Group::Cold,
        guest: Guest::Large,
        ..echo("cold-large", "guest of 400 KB", 64)
    },
    Scenario {
        action: Action::FreshInstance,
        group: Group::Fresh,
        measure: Measure::Rate { threads: 1 },
        ..echo("fresh-1", "1 thread", 64)
    },
    Scenario {
        action: Action::FreshInstance,
        group: Group::Fresh,
        measure: Measure::Rate { threads: 2 },
        ..echo("fresh-2", "2 threads", 64)
    },
    Scenario {
        action: Action::Replace,
        group: Group::Replace,
        ..echo("replace-tiny", "tiny guest", 64)
    },
    Scenario {
        action: Action::Replace,
        group: Group::Replace,
        guest: Guest::Large,
        ..echo("replace-large", "guest of 400 KB", 64)
    },
    Scenario {
        action: Action::FurtherHost,
        group: Group::Memory,
        measure: Measure::Resident,
        ..echo("memory-tiny", "tiny guest", 64)
    },
    Scenario {
        action: Action::FurtherHost,
        group: Group::Memory,
        measure: Measure::Resident,
        guest: Guest::Large,
        ..echo("memory-large", "guest of 400 KB", 64)
    },
    Scenario {
        group: Group::Allocations,
        measure: Measure::Allocations,
        ..echo("allocations-echo", "echo of 64 B", 64)
    },
    Scenario {
        group: Group::Allocations,
        measure: Measure::Allocations,
        guest: Guest::EchoHost,
        ..echo("allocations-host-call", "one host call", 64)
    },
    Scenario {
        group: Group::Allocations,
        measure: Measure::Allocations,
        guest: Guest::EchoHostTen,
        ..echo("allocations-host-calls-10", "10 host calls", 64)
    },
];

const fn echo(name: &'static str, label: &'static str, payload_bytes: usize) -> Scenario {
    Scenario {
        name,
        group: Group::Call,
        label,
        measure: Measure::Time,
        action: Action::Call,
        guest: Guest::Echo,
        payload_bytes,
    }
}
