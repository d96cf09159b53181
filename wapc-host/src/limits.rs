//! The limits of guests, of modules and of single calls, and the means to keep
//! them.

pub(crate) mod call;
pub(crate) mod cancel;
pub(crate) mod compile_cost;
pub(crate) mod growth;
pub(crate) mod guest;
pub(crate) mod interruption;
pub(crate) mod module;
