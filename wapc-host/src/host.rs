//! The service object: one guest module, called from any thread.

mod admission;
mod builder;
mod call_async;
mod checkout;
mod failure;
mod generation;
mod inner;
mod instances;
mod lease;
mod retire;
mod service;
mod settings;
mod stats;

pub use self::{
    builder::HostBuilder,
    checkout::{CheckedOut, CheckedOutAsync},
    service::{WapcHost, With},
    settings::Reuse,
    stats::{ErrorCounts, Stats},
};
pub(crate) use self::{
    generation::{Generation, Swapping},
    inner::Inner,
    lease::Lease,
};

#[cfg(all(test, not(shuttle)))]
mod tests;
