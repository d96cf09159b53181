//! From rustdoc's JSON to one line for each public item.

use std::{collections::HashSet, path::Path};

use public_api::{Builder, PublicItem};

use crate::foreign;

/// Returns the public items in the JSON at `path`, of the crate `own`, ordered by their paths.
///
/// Blanket implementations are left out, and so is what [`is_implied`].
pub(crate) fn lines(path: &Path, own: &str) -> Result<Vec<String>, public_api::Error> {
    let api = Builder::from_rustdoc_json(path)
        .sorted(true)
        .omit_blanket_impls(true)
        .build()?;

    let trait_impls: HashSet<_> = api
        .items()
        .filter(|item| implemented_trait(&item.to_string()).is_some())
        .map(PublicItem::id)
        .collect();
    Ok(api
        .items()
        .map(|item| {
            let parent = item.parent_id();
            let of_trait = parent.is_some_and(|parent| trait_impls.contains(&parent));
            (item.to_string(), of_trait)
        })
        .filter(|(line, of_trait)| !is_implied(line, *of_trait))
        .map(|(line, _)| foreign::shorten(&line, own))
        .collect())
}

/// Says whether another line, or the absence of one, implies `line`.
///
/// - A trait's implementation implies the functions in it.
/// - A type is `Send` and `Sync` unless a line denies it or sets a condition.
/// - Other auto traits are listed for no type.
fn is_implied(line: &str, is_in_trait_impl: bool) -> bool {
    let Some(implemented) = implemented_trait(line) else {
        return is_in_trait_impl && !line.starts_with("pub type ");
    };
    let is = |path| implemented.ends_with(path);
    if is("core::marker::Send") || is("core::marker::Sync") {
        !implemented.contains('!') && !line.contains(" where ")
    } else {
        OTHER_AUTO_TRAITS.into_iter().any(is)
    }
}

const OTHER_AUTO_TRAITS: [&str; 6] = [
    "core::marker::Freeze",
    "core::marker::StructuralPartialEq",
    "core::marker::Unpin",
    "core::marker::UnsafeUnpin",
    "core::panic::unwind_safe::RefUnwindSafe",
    "core::panic::unwind_safe::UnwindSafe",
];

/// Returns `line` up to the end of the trait, if it is a trait's implementation.
fn implemented_trait(line: &str) -> Option<&str> {
    let (implemented, _) = line.split_once(" for ")?;
    implemented.starts_with("impl").then_some(implemented)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn send_and_sync_are_listed_where_they_are_not_given() {
        assert!(is_implied("impl core::marker::Send for a::B", false));
        assert!(!is_implied("impl !core::marker::Send for a::B", false));
        let conditional = "impl<T> core::marker::Sync for a::B<T> where T: core::marker::Sync";
        assert!(!is_implied(conditional, false));
    }

    #[test]
    fn other_auto_traits_are_not_listed() {
        assert!(is_implied("impl core::marker::Freeze for a::B", false));
        assert!(is_implied("impl !core::marker::Unpin for a::B", false));
        assert!(!is_implied("impl core::clone::Clone for a::B", false));
    }

    #[test]
    fn functions_of_implemented_traits_are_not_listed_but_their_types_are() {
        let function = "pub fn a::B::clone(&self) -> a::B";
        assert!(is_implied(function, true));
        assert!(!is_implied(function, false));
        assert!(!is_implied("pub type a::B::Item = u8", true));
    }
}
