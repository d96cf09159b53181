//! The kinds of interruption of running guests.

/// The ways to interrupt running guests that a provider was built with.
///
/// The builder of a provider sets them, since each one slows down guests that
/// compute. A host refuses limits and options that its provider cannot enforce:
///
/// ```
/// use wapc_host::{CallOptions, Error, Interruption, Limits, WapcHost};
/// use wapc_host::{WebAssemblyEngineProvider, engine::scripted::ScriptedProvider};
///
/// let provider = ScriptedProvider::echo();
/// assert_eq!(provider.interruption(), Interruption::TimeAndFuel);
///
/// let host = WapcHost::builder(Box::new(provider))
///     .limits(Limits::default().fuel(10_000))
///     .build(|_, _, _, _, _| Ok(vec![]))?;
/// assert_eq!(host.call("echo", b"hello")?, b"hello");
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[repr(u8)]
pub enum Interruption {
    /// Guests cannot be interrupted.
    Off = 0,
    /// By timeouts, deadlines and cancel handles. This is the default of the
    /// providers.
    #[default]
    Time = BY_TIME,
    /// By fuel.
    Fuel = BY_FUEL,
    /// By time and by fuel.
    TimeAndFuel = BY_TIME | BY_FUEL,
    /// By timeouts, deadlines and cancel handles, which end a guest and cannot
    /// pause it. Guests that compute are hardly slower than with
    /// [`Interruption::Off`], and a cancelled one ends at once.
    ///
    /// For hosts whose calls block: the guest of an async call keeps the executor's
    /// thread while it computes. Engines and platforms without this kind take
    /// [`Interruption::Time`] in its place, and
    /// [`WebAssemblyEngineProvider::interruption`](crate::WebAssemblyEngineProvider::interruption)
    /// says so.
    Kill = BY_TIME | ONLY_ENDS,
}

// Bits, since each call with options tests both.
const BY_TIME: u8 = 1;
const BY_FUEL: u8 = 2;
const ONLY_ENDS: u8 = 4;

impl Interruption {
    /// Returns `true` if timeouts, deadlines and cancel handles are enforced.
    #[must_use]
    pub const fn by_time(self) -> bool {
        self as u8 & BY_TIME != 0
    }

    /// Returns `true` if fuel is counted.
    #[must_use]
    pub const fn by_fuel(self) -> bool {
        self as u8 & BY_FUEL != 0
    }
}
