//! Random numbers from a seed, the same on every machine.

/// SplitMix64. Source: <https://prng.di.unimi.it/splitmix64.c>.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Creates the sequence of this seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Splits off another sequence, so that the numbers one part of an execution takes
    /// do not shift those of the next part.
    #[must_use]
    pub const fn fork(&mut self) -> Self {
        Self(self.u64())
    }

    /// Any number.
    pub const fn u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Any number, signed as in guests' arguments.
    pub fn i32(&mut self) -> i32 {
        let [.., a, b, c, d] = self.u64().to_le_bytes();
        i32::from_le_bytes([a, b, c, d])
    }

    /// A number below `end`; 0 if that is 0.
    #[expect(clippy::missing_panics_doc, reason = "what is below a usize is one")]
    pub fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.u64() % (end as u64).max(1)).expect("it is below a usize")
    }

    /// True once in `n` times.
    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    /// One of `choices`.
    ///
    /// # Panics
    ///
    /// If `choices` is empty.
    pub fn pick<'c, T>(&mut self, choices: &'c [T]) -> &'c T {
        let index = self.below(choices.len());
        choices.get(index).expect("there is a choice")
    }

    /// This many bytes.
    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(count + 8);
        while bytes.len() < count {
            bytes.extend_from_slice(&self.u64().to_le_bytes());
        }
        bytes.truncate(count);
        bytes
    }

    /// A pointer or a length, near the bounds of a memory of `memory` bytes or of 32
    /// bits.
    pub fn edge(&mut self, memory: usize) -> i32 {
        match self.below(14) {
            0 => 0,
            1 => 1,
            2 => number(memory.saturating_sub(1)),
            3 => number(memory),
            4 => number(memory.saturating_add(1)),
            5 => i32::MAX,
            6 => i32::MIN,
            7 => -1,
            8 => -1 - number(self.below(16)),
            9 => 0_i32.wrapping_sub(number(memory)),
            10 => self.i32(),
            11 => number(self.below(16)),
            _ => number(self.below(memory)),
        }
    }

    /// A pointer and a length: mostly within a memory of `memory` bytes, or just
    /// beyond it.
    pub fn range(&mut self, memory: usize) -> (i32, i32) {
        if self.one_in(14) {
            return (self.edge(memory), self.edge(memory));
        }
        let longest = match self.one_in(8) {
            true => memory,
            false => memory.min(64),
        };
        let length = self.below(longest + 1);
        let last = memory - length;
        let pointer = match self.below(40) {
            0..6 => last,
            6 => last + 1,
            7 => 0,
            _ => self.below(last + 1),
        };
        (number(pointer), number(length))
    }
}

/// Converts a number to an argument: unsigned in an `i32`.
#[must_use]
pub fn number(value: usize) -> i32 {
    u32::try_from(value).unwrap_or(u32::MAX).cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_numbers_each_time() {
        // From the reference implementation.
        let mut random = Random::new(0);
        assert_eq!(random.u64(), 0xe220_a839_7b1d_cdaf);
        assert_eq!(random.u64(), 0x6e78_9e6a_a1b9_65f4);
        assert_eq!(Random::new(7).bytes(5), Random::new(7).bytes(9)[..5]);
    }

    #[test]
    fn ranges_are_mostly_within_the_memory() {
        let mut random = Random::new(1);
        for memory in [0, 1, 64, 65536] {
            let within = (0..1000)
                .filter(|_| {
                    let (pointer, length) = random.range(memory);
                    let end =
                        u64::from(pointer.cast_unsigned()) + u64::from(length.cast_unsigned());
                    end <= memory as u64
                })
                .count();
            assert!((500..1000).contains(&within), "{within} of {memory}");
        }
    }
}
