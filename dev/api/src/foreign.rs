//! Types of other crates in a public API: each ties the users of the API to that crate's version.

use crate::Listed;

/// Returns each line that shows a crate which `listed` may not show, with that crate's name.
pub(crate) fn shown<'l>(
    lines: &'l [String],
    listed: &'l Listed,
) -> impl Iterator<Item = (&'l str, &'l str)> {
    let own = listed.name.replace('-', "_");
    lines
        .iter()
        .flat_map(|line| crates(line).map(move |name| (line.as_str(), name)))
        .filter(move |(_, name)| {
            !["alloc", "core", "std", own.as_str()].contains(name)
                && !listed.may_show.contains(name)
        })
}

/// Returns the first segments of all paths in `line`.
fn crates(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'))
        .filter_map(|path| path.split_once("::"))
        .map(|(first, _)| first)
        // Neither `<T as Trait>::Name` nor `T::Name`.
        .filter(|first| first.starts_with(|c: char| c.is_lowercase() || c == '_'))
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
}
