//! What the process takes of the machine's memory.

use std::fs;

/// Memory at one moment, in KiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Memory {
    /// What is in physical memory.
    pub(crate) resident: u64,
    /// What is reserved of the address space.
    pub(crate) address_space: u64,
}

impl Memory {
    /// The process's memory now; `None` on systems without `/proc`.
    ///
    /// From `status`, which tells kibibytes, where `statm` tells pages of a
    /// size that it does not.
    pub(crate) fn now() -> Option<Self> {
        let status = fs::read_to_string("/proc/self/status").ok()?;
        Self::parse(&status)
    }

    fn parse(status: &str) -> Option<Self> {
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.trim().strip_suffix("kB")?.trim().parse().ok()
        };
        Some(Self {
            resident: field("VmRSS:")?,
            address_space: field("VmSize:")?,
        })
    }
}

/// Samples of memory over the course of a run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Course {
    /// How much had been done, and what memory was then.
    pub(crate) samples: Vec<(u64, Memory)>,
}

impl Course {
    pub(crate) fn sample(&mut self, done: u64) {
        if let Some(memory) = Memory::now() {
            self.samples.push((done, memory));
        }
    }

    /// The medians of the second and of the last tenth of the samples. The
    /// first tenth is left out: allocators and pools fill up in it.
    pub(crate) fn tenths(&self, of: fn(&Memory) -> u64) -> Option<(u64, u64)> {
        let tenth = self.samples.len() / 10;
        let median = |samples: &[(u64, Memory)]| {
            let mut values: Vec<u64> = samples.iter().map(|sample| of(&sample.1)).collect();
            values.sort_unstable();
            values.get(values.len() / 2).copied()
        };
        let second = self.samples.get(tenth..2 * tenth)?;
        let last = self.samples.get(self.samples.len() - tenth..)?;
        Some((median(second)?, median(last)?))
    }

    pub(crate) fn points(&self, of: fn(&Memory) -> u64) -> Vec<(f64, f64)> {
        let samples = self.samples.iter();
        samples
            .map(|(done, memory)| (*done as f64, of(memory) as f64))
            .collect()
    }
}

/// Whether memory that went from `second` to `last` KiB has not grown: by no
/// more than `slack`, or a twentieth.
pub(crate) fn is_flat((second, last): (u64, u64), slack: u64) -> bool {
    last <= second + slack.max(second / 20)
}

/// What allocators hold back now and not later, in KiB.
pub(crate) const RESIDENT_SLACK: u64 = 8 << 10;

/// Two instances of wasmtime's on their way in or out, each of which reserves
/// 4 GiB and its guards, in KiB. A leak in every hundredth swap is far more.
pub(crate) const ADDRESS_SLACK: u64 = 10 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kibibytes_are_read_from_status() {
        let memory = Memory::parse("Name:\tsoak\nVmSize:\t  123 kB\nVmRSS:\t   45 kB\n");
        assert_eq!(
            memory,
            Some(Memory {
                resident: 45,
                address_space: 123
            })
        );
        assert_eq!(Memory::parse("Name:\tsoak\n"), None);
    }

    #[test]
    fn growth_shows_in_the_last_tenth() {
        let course = |growth: u64| Course {
            samples: (0..100)
                .map(|done| {
                    let memory = Memory {
                        resident: 100_000 + growth * done,
                        address_space: 0,
                    };
                    (done, memory)
                })
                .collect(),
        };
        let flat = |growth| {
            let tenths = course(growth).tenths(|memory| memory.resident);
            tenths.is_some_and(|tenths| is_flat(tenths, RESIDENT_SLACK))
        };
        assert!(flat(0) && flat(10));
        assert!(!flat(1000));
        assert!(course(0).samples.len() == 100);
    }
}
