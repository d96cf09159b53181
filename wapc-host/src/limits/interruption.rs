//! How running guests can be interrupted.

/// How running guests can be interrupted: a choice at build of a provider,
/// since each way has its price on guests that compute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[repr(u8)]
pub enum Interruption {
    /// Not at all.
    Off = 0,
    /// By timeouts, deadlines and cancel handles: the default of the providers.
    #[default]
    Time = BY_TIME,
    /// By fuel.
    Fuel = BY_FUEL,
    /// By both.
    TimeAndFuel = BY_TIME | BY_FUEL,
}

// Bits, since each call asks for both.
const BY_TIME: u8 = 1;
const BY_FUEL: u8 = 2;

impl Interruption {
    /// Whether timeouts, deadlines and cancel handles work.
    #[must_use]
    pub const fn by_time(self) -> bool {
        self as u8 & BY_TIME != 0
    }

    /// Whether fuel is counted.
    #[must_use]
    pub const fn by_fuel(self) -> bool {
        self as u8 & BY_FUEL != 0
    }
}
