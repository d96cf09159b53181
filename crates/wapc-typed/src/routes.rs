//! A table of operations, found by their names in a few nanoseconds.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
};

/// Values by binding, namespace and operation.
pub(crate) struct Routes<V> {
    /// By the hash of the operation. The program chooses the names, and a guest only asks for them: it
    /// cannot make their hashes collide.
    by_hash: HashMap<u64, Vec<Route<V>>, BuildHasherDefault<HashItself>>,
}

pub(crate) struct Route<V> {
    pub(crate) binding: Box<str>,
    pub(crate) namespace: Box<str>,
    pub(crate) operation: Box<str>,
    pub(crate) value: V,
}

impl<V> Default for Routes<V> {
    fn default() -> Self {
        let by_hash = HashMap::default();
        Self { by_hash }
    }
}

impl<V> Routes<V> {
    /// Returns the value of the names, or that of the binding and the operation without a namespace.
    #[inline]
    pub(crate) fn get(&self, binding: &str, namespace: &str, operation: &str) -> Option<&V> {
        let mut of_any_namespace = None;
        for route in self.by_hash.get(&hash(operation))? {
            if same(&route.operation, operation) && same(&route.binding, binding) {
                if same(&route.namespace, namespace) {
                    return Some(&route.value);
                }
                if route.namespace.is_empty() {
                    of_any_namespace = Some(&route.value);
                }
            }
        }
        of_any_namespace
    }

    /// Adds a value, unless there is one of the same names: then returns that.
    pub(crate) fn add(
        &mut self,
        binding: &str,
        namespace: &str,
        operation: &str,
        value: V,
    ) -> Option<&mut V> {
        let routes = self.by_hash.entry(hash(operation)).or_default();
        let taken = routes.iter().position(|route| {
            [&*route.binding, &*route.namespace, &*route.operation]
                == [binding, namespace, operation]
        });
        let Some(taken) = taken else {
            routes.push(Route {
                binding: binding.into(),
                namespace: namespace.into(),
                operation: operation.into(),
                value,
            });
            return None;
        };
        routes.get_mut(taken).map(|route| &mut route.value)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Route<V>> {
        self.by_hash.values().flatten()
    }
}

/// Hashes a short name, sixteen bytes at a time.
#[inline]
fn hash(name: &str) -> u64 {
    /// Fractions of the golden ratio and of π.
    const KEYS: [u64; 2] = [0x9e37_79b9_7f4a_7c15, 0x243f_6a88_85a3_08d3];

    let mix = |hash: u64, one: u64, other: u64| {
        let product = u128::from(one ^ hash) * u128::from(other ^ KEYS[1]);
        let [low, high] = [product, product >> 64].map(|half| half & u128::from(u64::MAX));
        u64::try_from(low ^ high).unwrap_or(0)
    };
    let of_words = |hash: u64, [one, other]: [&[u8; 8]; 2]| {
        mix(hash, u64::from_le_bytes(*one), u64::from_le_bytes(*other))
    };
    let bytes = name.as_bytes();
    let hash = KEYS[0] ^ u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    let (words, _) = bytes.as_chunks::<8>();
    let (pairs, rest) = words.as_chunks::<2>();
    let hash = (pairs.iter()).fold(hash, |hash, [one, other]| of_words(hash, [one, other]));
    match (rest, bytes.last_chunk::<8>()) {
        // The last eight bytes, which overlap those before.
        ([word], Some(last)) => of_words(hash, [word, last]),
        (_, Some(last)) => of_words(hash, [last, last]),
        (_, None) => {
            let word = (bytes.iter()).fold(0, |word, byte| word << 8 | u64::from(*byte));
            mix(hash, word, 0)
        }
    }
}

/// Compares short names. A call of `memcmp` would take longer than all the rest.
#[inline]
fn same(one: &str, other: &str) -> bool {
    let (one, other) = (one.as_bytes(), other.as_bytes());
    if one.len() != other.len() {
        return false;
    }
    match (one.last_chunk::<8>(), other.last_chunk::<8>()) {
        (Some(one_last), Some(other_last)) => {
            let ((one, _), (other, _)) = (one.as_chunks::<8>(), other.as_chunks::<8>());
            let pairs = one.iter().zip(other);
            let differ = |(one, other): (&[u8; 8], &[u8; 8])| {
                u64::from_le_bytes(*one) != u64::from_le_bytes(*other)
            };
            !differ((one_last, other_last)) && !pairs.into_iter().any(differ)
        }
        _ => one.iter().zip(other).all(|(one, other)| one == other),
    }
}

/// Takes a hash as it is.
#[derive(Default)]
struct HashItself(u64);

impl Hasher for HashItself {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    /// Not used: the keys are numbers.
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_each_length_are_told_apart() {
        let text = "abcdefghijklmnopqrstuvwxyz0123456789";
        for length in 0..text.len() {
            let name = &text[..length];
            assert!(same(name, name), "{name}");
            for place in 0..length {
                let mut other = name.as_bytes().to_vec();
                other[place] = b'_';
                let other = String::from_utf8(other).unwrap();
                assert!(!same(name, &other), "{name} {other}");
                assert_ne!(hash(name), hash(&other), "{name} {other}");
            }
            assert!(!same(name, &text[..=length]));
            assert_ne!(hash(name), hash(&text[..=length]));
        }
    }

    #[test]
    fn a_namespace_goes_before_any_and_nothing_is_taken_twice() {
        let mut routes = Routes::default();
        assert!(routes.add("b", "", "op", 1).is_none());
        assert!(routes.add("b", "n", "op", 2).is_none());
        assert!(routes.add("c", "n", "op", 3).is_none());
        assert_eq!(routes.add("b", "n", "op", 4), Some(&mut 2));
        assert_eq!(routes.get("b", "n", "op"), Some(&2));
        assert_eq!(routes.get("b", "other", "op"), Some(&1));
        assert_eq!(routes.get("c", "n", "op"), Some(&3));
        assert_eq!(routes.get("c", "", "op"), None);
        assert_eq!(routes.get("b", "n", "other"), None);
        assert_eq!(routes.iter().count(), 3);
    }

    #[test]
    fn names_of_the_same_hash_are_told_apart() {
        let mut routes = Routes::default();
        assert!(routes.add("b", "", "one", 1).is_none());
        let collided = routes.by_hash.remove(&hash("one")).unwrap();
        routes.by_hash.insert(hash("two"), collided);
        assert_eq!(routes.get("b", "", "two"), None);
        assert!(routes.add("b", "", "two", 2).is_none());
        assert_eq!(routes.get("b", "", "two"), Some(&2));
    }
}
