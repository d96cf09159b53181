//! Random numbers that are the same in every run, without a dependency.

/// The generator xorshift64*.
pub(super) struct Random(u64);

impl Random {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(2).wrapping_add(0x9e37_79b9_7f4a_7c15))
    }

    /// A number below `limit`, which must not be 0.
    pub(super) fn below(&mut self, limit: u32) -> u32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32;
        u32::try_from(high % u64::from(limit)).unwrap_or_default()
    }

    pub(super) fn byte(&mut self) -> u8 {
        let [byte, ..] = self.below(256).to_le_bytes();
        byte
    }

    pub(super) fn one_of(&mut self, choices: [&'static str; 8]) -> &'static str {
        let nth = usize::try_from(self.below(8)).unwrap_or_default();
        choices.get(nth).copied().unwrap_or_default()
    }
}
