//! What may be used up: by guests, by modules, by single calls.

pub(crate) mod call;
pub(crate) mod guest;
pub(crate) mod module;
