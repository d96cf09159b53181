//! The variables of a plugin.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Values that a plugin keeps from call to call, within a limit.
#[derive(Debug)]
pub(crate) struct Vars {
    values: BTreeMap<String, Vec<u8>>,
    bytes: u64,
    limit: u64,
}

/// The reason why a variable is not set.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum VarError {
    /// The limit is 0.
    #[error("Vars are disabled by this host")]
    Disabled,
    /// All variables together would exceed the limit.
    #[error("Variable store is full")]
    Full,
}

/// The bytes that a variable counts beside its key and its value.
const OVERHEAD: u64 = 48;

impl Vars {
    pub(crate) const fn new(limit: u64) -> Self {
        Self {
            values: BTreeMap::new(),
            bytes: 0,
            limit,
        }
    }

    pub(crate) fn get(&self, key: &str) -> Option<&[u8]> {
        self.values.get(key).map(Vec::as_slice)
    }

    /// Sets a value; one that is overwritten does not count.
    pub(crate) fn set(&mut self, key: &str, value: &[u8]) -> Result<(), VarError> {
        if self.limit == 0 {
            return Err(VarError::Disabled);
        }
        let before = self.get(key).map_or(0, |old| size(key, old));
        let after = (self.bytes - before).saturating_add(size(key, value));
        if after > self.limit {
            return Err(VarError::Full);
        }
        self.bytes = after;
        self.values.insert(key.to_owned(), value.to_vec());
        Ok(())
    }

    pub(crate) fn remove(&mut self, key: &str) {
        if let Some(value) = self.values.remove(key) {
            self.bytes -= size(key, &value);
        }
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::new(self.limit);
    }
}

fn size(key: &str, value: &[u8]) -> u64 {
    let bytes = key.len().saturating_add(value.len());
    u64::try_from(bytes)
        .unwrap_or(u64::MAX)
        .saturating_add(OVERHEAD)
}

/// A panic elsewhere is no reason to panic here: the values are whole at any time.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::{VarError, Vars};

    #[test]
    fn all_variables_together_are_limited() {
        let mut vars = Vars::new(100);
        vars.set("a", &[1; 51]).unwrap();
        assert_eq!(vars.set("a", &[1; 52]), Err(VarError::Full));
        assert_eq!(vars.set("b", b""), Err(VarError::Full));
        for _ in 0..100 {
            vars.set("a", &[2; 51]).unwrap();
        }
        assert_eq!(vars.get("a"), Some(&[2; 51][..]));
        vars.remove("a");
        vars.remove("a");
        vars.set("b", &[3; 51]).unwrap();
        vars.clear();
        assert_eq!(vars.get("b"), None);
        vars.set("c", &[3; 51]).unwrap();
        assert_eq!(Vars::new(0).set("a", b""), Err(VarError::Disabled));
    }
}
