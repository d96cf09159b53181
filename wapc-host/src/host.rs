//! The service object: one guest module, called from any thread.

mod admission;
mod builder;
mod call_async;
mod checkout;
mod failure;
mod generation;
mod instances;
mod lease;
mod publish;
mod retire;
mod service;
mod settings;
mod shared;
mod stats;
mod tiers;
mod wait;

pub use self::{
    builder::HostBuilder,
    checkout::{CheckedOut, CheckedOutAsync},
    service::{CallWith, WapcHost},
    settings::Reuse,
    stats::Stats,
    tiers::{CompileTier, Tier, Tiers},
};
pub(crate) use self::{
    failure::missing_instance, generation::Generation, lease::Lease, shared::HostShared,
    tiers::Code,
};

#[cfg(all(test, not(shuttle)))]
mod tests;
