//! Types of other crates in a public API: each ties the users of the API to that crate's version.

use std::borrow::Cow;

use crate::Listed;

/// Returns each line that shows a crate which `listed` may not show, with that crate's name.
pub(crate) fn shown<'l>(
    lines: &'l [String],
    listed: &'l Listed,
) -> impl Iterator<Item = (&'l str, &'l str)> {
    let own = listed.library();
    lines
        .iter()
        .flat_map(|line| words(line).map(move |word| (line.as_str(), word)))
        .filter_map(|(line, word)| Some((line, crate_of(word)?)))
        .filter(move |(_, name)| is_foreign(name, &own) && !listed.may_show.contains(name))
}

/// Shortens the paths of foreign types to `crate::Type`: rustdoc prints the private modules between them.
pub(crate) fn shorten(line: &str, own: &str) -> String {
    words(line)
        .map(|word| match (crate_of(word), word.rsplit_once("::")) {
            (Some(name), Some((_, last))) if is_foreign(name, own) => {
                Cow::from(format!("{name}::{last}"))
            }
            _ => Cow::from(word),
        })
        .collect()
}

/// Says whether the crate `name` is neither `own` nor the standard library.
fn is_foreign(name: &str, own: &str) -> bool {
    !["alloc", "core", "std", own].contains(&name)
}

/// Splits `line` into paths and what stands between them.
fn words(line: &str) -> impl Iterator<Item = &str> {
    let is_of_path = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    line.split_inclusive(move |c| !is_of_path(c))
        .flat_map(move |piece| {
            let path = piece.trim_end_matches(move |c| !is_of_path(c));
            let rest = piece.get(path.len()..).unwrap_or_default();
            [path, rest]
        })
}

/// Returns the crate of a path, unless that is one like `T::Name`, or `::Name` of `<T as Trait>::Name`.
fn crate_of(path: &str) -> Option<&str> {
    let (first, _) = path.split_once("::")?;
    first
        .starts_with(|c: char| c.is_lowercase() || c == '_')
        .then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: Listed = Listed {
        name: "wapc-host",
        may_show: &["bytes"],
    };

    fn shown_in(line: &str) -> Vec<String> {
        shown(&[line.to_owned()], &HOST)
            .map(|(_, name)| name.to_owned())
            .collect()
    }

    #[test]
    fn crates_that_may_be_shown_are_passed_over() {
        let line = "pub fn wapc_host::Host::call<T: core::fmt::Debug>(&self) -> bytes::Bytes";
        assert_eq!(shown_in(line), [""; 0]);
    }

    #[test]
    fn other_crates_are_named() {
        let line = "pub fn wapc_host::Host::lock(&self) -> &parking_lot::Mutex<T::Item>";
        assert_eq!(shown_in(line), ["parking_lot"]);
    }

    #[test]
    fn paths_of_other_crates_are_shortened() {
        let line = "pub fn wapc_host::a::B::c(&self, wasmi::d::E<core::f::G>) -> <T as h::i::J>::K";
        assert_eq!(
            shorten(line, "wapc_host"),
            "pub fn wapc_host::a::B::c(&self, wasmi::E<core::f::G>) -> <T as h::J>::K"
        );
    }
}
