//! The layers hold: inside `wapc-host`, among the files of every crate, and
//! among the crates. The tables are those of ARCHITECTURE.md.
#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test that cannot read the sources fails"
)]

mod source;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
};

use source::{Arrow, Source};

/// Rows of a table: what a layer or a crate may use, those below it first.
type Table = Vec<(String, BTreeSet<String>)>;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The table of ARCHITECTURE.md under this title: rows of `name → others`.
fn table(title: &str) -> Table {
    let text = read("ARCHITECTURE.md");
    let (_, rows) = text.split_once(title).expect(title);
    let rows = rows
        .lines()
        .skip_while(|line| !line.contains('→'))
        .take_while(|line| line.contains('→'));
    let table: Table = rows
        .map(|row| {
            let (name, others) = row.split_once('→').unwrap();
            let others = others.split(',').map(|other| other.trim().to_owned());
            let others = others.filter(|other| !other.is_empty()).collect();
            (name.trim().to_owned(), others)
        })
        .collect();
    let mut above: Vec<_> = table.iter().map(|(name, _)| name).collect();
    for (name, others) in &table {
        above.remove(0);
        let upward = others
            .iter()
            .find(|other| *other == name || above.contains(other));
        assert_eq!(upward, None, "{title}: `{name}` is not above it");
    }
    table
}

/// The folders of all crates that are tested here, from the root.
fn crates() -> Vec<String> {
    let manifest = read("Cargo.toml");
    let (_, members) = manifest.split_once("members = [").unwrap();
    let (members, _) = members.split_once(']').unwrap();
    let members = members.split(',').map(|it| it.trim().trim_matches('"'));
    members
        .filter(|it| root().join(it).join("src").is_dir())
        .map(str::to_owned)
        .collect()
}

/// The first folder of a file of the core.
fn layer(file: &str) -> &str {
    file.split("::").next().unwrap_or(file)
}

#[test]
fn each_file_of_the_core_uses_its_own_layer_and_those_that_the_table_allows() {
    let table = table("Layers of `wapc-host`, lowest first");
    let core = Source::read(&root(), "wapc-host");
    let mut broken = vec![];
    let mut used = BTreeSet::new();
    for arrow in core.arrows().iter().filter(|arrow| !arrow.from.is_empty()) {
        let (from, to) = (layer(&arrow.from), layer(&arrow.to));
        let row = table.iter().find(|(name, _)| name == from);
        let rule = match row {
            _ if from == to => continue,
            _ if to.is_empty() => "the crate's root is for users".to_owned(),
            None => format!("`{from}` is not in the table"),
            Some((_, others)) if others.contains(to) => {
                used.insert((from.to_owned(), to.to_owned()));
                continue;
            }
            Some((_, others)) => format!("`{from}` may use {others:?}"),
        };
        broken.push(format!("{arrow}: {rule}"));
    }
    for (name, others) in &table {
        for other in others {
            if !used.contains(&(name.clone(), other.clone())) {
                broken.push(format!("the table: `{name}` does not use `{other}`"));
            }
        }
    }
    assert!(broken.is_empty(), "\n{}\n", broken.join("\n"));
}

#[test]
fn no_file_of_a_crate_uses_one_that_uses_it() {
    let mut circles = vec![];
    for folder in crates() {
        let source = Source::read(&root(), &folder);
        let mut left: Vec<Arrow> = source.arrows();
        left.retain(|arrow| !arrow.from.is_empty() && !arrow.to.is_empty());
        // What nothing leads to, and what leads to nothing, is in no circle.
        loop {
            let from: BTreeSet<_> = left.iter().map(|arrow| arrow.from.clone()).collect();
            let to: BTreeSet<_> = left.iter().map(|arrow| arrow.to.clone()).collect();
            let before = left.len();
            left.retain(|arrow| to.contains(&arrow.from) && from.contains(&arrow.to));
            if left.len() == before {
                break;
            }
        }
        circles.extend(left.iter().map(ToString::to_string));
    }
    assert!(
        circles.is_empty(),
        "circles of files:\n{}\n",
        circles.join("\n")
    );
}

/// The name and the dependencies of the crate in `folder`, but for those of
/// its tests.
fn manifest(folder: &str) -> (String, BTreeSet<String>) {
    let manifest = read(&format!("{folder}/Cargo.toml"));
    let mut section = "";
    let mut name = String::new();
    let mut dependencies = BTreeSet::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            section = line.trim_matches(['[', ']']);
        } else if let Some((key, value)) = line.split_once('=') {
            let key = key.trim().trim_end_matches(".workspace");
            if section == "package" && key == "name" {
                name = value.trim().trim_matches('"').to_owned();
            } else if section == "dependencies" || section.ends_with("'.dependencies") {
                dependencies.insert(key.to_owned());
            }
        }
    }
    (name, dependencies)
}

#[test]
fn each_crate_uses_those_that_the_table_allows() {
    let table = table("Crates that are published, lowest first");
    let manifests: BTreeMap<_, _> = crates().iter().map(|folder| manifest(folder)).collect();
    for (name, others) in &table {
        let dependencies = manifests.get(name).expect(name);
        let ours = dependencies
            .iter()
            .filter(|other| manifests.contains_key(*other))
            .cloned()
            .collect::<BTreeSet<_>>();
        assert_eq!(ours, *others, "Cargo.toml of `{name}` and the table");
    }
    for folder in crates() {
        let (name, _) = manifest(&folder);
        let is_private = read(&format!("{folder}/Cargo.toml")).contains("publish = false");
        let is_listed = table.iter().any(|(listed, _)| *listed == name);
        assert_ne!(is_private, is_listed, "`{name}`: published or private");
    }
}
