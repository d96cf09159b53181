//! The memory of this process.

use std::fs;

/// Memory at one moment, in KiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Memory {
    /// Physical memory.
    pub(crate) resident: u64,
    /// Reserved address space.
    pub(crate) address_space: u64,
}

impl Memory {
    /// Reads the process's memory; `None` on systems without `/proc`.
    ///
    /// `/proc/self/status` has kibibytes; `statm` has pages of unknown size.
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
    /// The progress and the memory at each sample.
    pub(crate) samples: Vec<(u64, Memory)>,
}

impl Course {
    pub(crate) fn sample(&mut self, done: u64) {
        if let Some(memory) = Memory::now() {
            self.samples.push((done, memory));
        }
    }

    /// Returns the medians of the second and of the last tenth of the samples. The
    /// first tenth is skipped, since allocators and pools fill up in it.
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

/// Returns `true` if memory has grown by at most `slack` KiB or a twentieth from the
/// second to the last tenth.
pub(crate) fn is_flat((second, last): (u64, u64), slack: u64) -> bool {
    last <= second + slack.max(second / 20)
}

/// Fluctuations of the allocators' caches, in KiB.
pub(crate) const RESIDENT_SLACK: u64 = 8 << 10;

/// Two instances of wasmtime that are being made or dropped, in KiB: each reserves
/// 4 GiB and guards. A leak in one of a hundred swaps is far more.
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
