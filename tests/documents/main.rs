//! The documents name files, sections and tests that exist.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// All documents of the repository, as paths from its root.
fn documents() -> Vec<PathBuf> {
    let mut found = vec![];
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(root().join(&folder)).expect("a folder") {
            let entry = entry.expect("an entry");
            let path = folder.join(entry.file_name());
            let name = entry.file_name().into_string().expect("a name in UTF-8");
            let is_folder = entry.file_type().expect("a type").is_dir();
            if is_folder && name != "target" && name != "node_modules" && !name.starts_with('.') {
                folders.push(path);
            } else if name.ends_with(".md") {
                found.push(path);
            }
        }
    }
    assert!(found.iter().any(|path| path == Path::new("README.md")));
    found.sort();
    found
}

/// The lines of a document outside of its code blocks.
fn prose(text: &str) -> String {
    let mut in_code = false;
    let lines = text.lines().filter(|line| {
        let fence = line.trim_start().starts_with("```");
        in_code ^= fence;
        !fence && !in_code
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// The anchors of a document's headings, as GitHub makes them.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = prose(text);
    let headings = headings.lines().filter_map(|line| {
        let title = line.trim_start_matches('#');
        (title.len() < line.len()).then(|| title.trim().to_lowercase())
    });
    headings
        .map(|title| {
            let kept = title
                .chars()
                .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
            kept.map(|c| if c == ' ' { '-' } else { c }).collect()
        })
        .collect()
}

/// The targets of a document's links and images.
fn links(text: &str) -> Vec<String> {
    let text = prose(text);
    let inline = text
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next());
    let referenced = text
        .lines()
        .filter_map(|line| line.strip_prefix('[')?.split_once("]: "))
        .map(|(_, target)| target);
    inline
        .chain(referenced)
        .map(|target| target.trim().to_owned())
        .collect()
}

/// The words between backticks that look like files: with a folder, or with an
/// ending that documents use.
fn files_named(text: &str) -> Vec<&str> {
    let quoted = text.split('`').skip(1).step_by(2);
    quoted
        .filter(|word| {
            !word.contains([' ', '*', '(', '<', '{', ':', '…', '='])
                && !word.starts_with(['-', '.'])
        })
        .filter(|word| {
            word.contains('/')
                || [".rs", ".md", ".sh", ".toml"]
                    .iter()
                    .any(|end| word.ends_with(end))
        })
        .collect()
}

fn exists(path: &str) -> bool {
    root().join(path).exists()
}

#[test]
fn links_lead_to_files_and_sections_that_exist() {
    let mut broken = vec![];
    for document in documents() {
        let text = read(&root().join(&document));
        for link in links(&text) {
            if link.contains("://") {
                continue;
            }
            let (file, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let target = match file {
                "" => root().join(&document),
                file => root().join(&document).with_file_name("").join(file),
            };
            let is_found = match anchor {
                "" => target.exists(),
                anchor => target.is_file() && anchors(&read(&target)).contains(anchor),
            };
            if !is_found {
                broken.push(format!("{}: {link}", document.display()));
            }
        }
    }
    assert!(broken.is_empty(), "links that lead nowhere: {broken:#?}");
}

#[test]
fn files_that_the_documents_name_exist() {
    let mut missing = vec![];
    for document in [
        "README.md",
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
        "RELEASING.md",
    ] {
        let text = prose(&read(&root().join(document)));
        let lines: Vec<&str> = text.lines().collect();
        for file in lines.iter().flat_map(|line| files_named(line)) {
            // A name without a folder is one of each provider's; ARCHITECTURE
            // leaves the core's folder out.
            let places: &[&str] = match (document, file.contains('/')) {
                ("ARCHITECTURE.md", _) => &["", "wapc-host/src/", "provider-wasmtime/src/"],
                (_, true) => &[""],
                (_, false) => &["", "provider-wasmtime/src/", "provider-wasmi/src/"],
            };
            if !places.iter().any(|place| exists(&format!("{place}{file}"))) {
                missing.push(format!("{document}: {file}"));
            }
        }
    }
    assert!(missing.is_empty(), "files that do not exist: {missing:#?}");
}

#[test]
fn contributing_says_where_ten_kinds_of_change_begin_and_architecture_leads_there() {
    let text = read(&root().join("CONTRIBUTING.md"));
    let architecture = read(&root().join("ARCHITECTURE.md"));
    let table = text.split("## Where to begin").nth(1).unwrap();
    let table = table.split("\n## ").next().unwrap();
    let rows: Vec<&str> = table
        .lines()
        .filter(|line| line.starts_with("| "))
        .skip(1)
        .collect();
    assert_eq!(rows.len(), 10, "{rows:#?}");
    for row in rows {
        let begin = row.split('|').nth(2).unwrap();
        let file = files_named(begin)
            .into_iter()
            .find(|file| file.ends_with(".rs"));
        let file = file.filter(|file| exists(file));
        let file = file.unwrap_or_else(|| panic!("no file to begin in: {row}"));
        let short = file.strip_prefix("wapc-host/src/").unwrap_or(file);
        let named = format!("`{short}`");
        assert!(
            architecture.contains(&named),
            "ARCHITECTURE.md does not name {short}"
        );
    }
}

#[test]
fn each_program_in_the_documents_is_compiled() {
    let library = read(&root().join("tests/src/lib.rs"));
    for document in documents() {
        let is_page = document.starts_with("docs") || document == Path::new("README.md");
        let text = read(&root().join(&document));
        if is_page && text.contains("```rust") {
            let include = format!("include_str!(\"../../{}\")", document.display());
            assert!(
                library.contains(&include),
                "{} is not a doc test",
                document.display()
            );
        }
    }
}
