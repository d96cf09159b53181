//! The files of a crate, and the arrows between them: which file uses which, by
//! `use` and by paths in the code. A name that comes through a re-export
//! counts for the file that defines it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, fs,
    path::Path,
};

/// Files of the core that stand outside of the layers, since they are for
/// tests: the engine of closures, and the models.
const FOR_TESTS: [&str; 2] = ["wapc-host/engine/scripted", "wapc-host/model"];

/// One file uses a name of another.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Arrow {
    /// The file's module path; empty for `lib.rs`.
    pub(crate) from: String,
    pub(crate) to: String,
    folder: String,
    path: String,
}

impl fmt::Display for Arrow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = match self.from.as_str() {
            "" => "lib".to_owned(),
            from => from.replace("::", "/"),
        };
        let Self { folder, path, .. } = self;
        write!(f, "{folder}/src/{file}.rs: `use {path}`")
    }
}

/// The crate's files by module path.
pub(crate) struct Source {
    folder: String,
    files: BTreeMap<String, File>,
}

struct File {
    uses: Vec<Use>,
    defined: BTreeSet<String>,
}

struct Use {
    /// Such as `crate::error::Error`.
    path: String,
    /// The name that it has in this file.
    name: String,
    is_public: bool,
}

impl Source {
    /// The crate whose `src` is in `folder` below `root`.
    pub(crate) fn read(root: &Path, folder: &str) -> Self {
        let mut files = BTreeMap::new();
        let src = root.join(folder).join("src");
        let mut folders = vec![src.clone()];
        while let Some(next) = folders.pop() {
            for entry in fs::read_dir(next).unwrap() {
                let path = entry.unwrap().path();
                let relative = path.strip_prefix(&src).unwrap().with_extension("");
                let parts: Vec<_> = relative.iter().map(|part| part.to_str().unwrap()).collect();
                let is_rust = path.extension().is_some_and(|it| it == "rs");
                if path.is_dir() {
                    folders.push(path);
                } else if is_rust && !parts.contains(&"tests") && !is_for_tests(folder, &parts) {
                    let name = parts.join("::");
                    let name = if name == "lib" { String::new() } else { name };
                    files.insert(name, File::parse(&fs::read_to_string(&path).unwrap()));
                }
            }
        }
        assert!(!files.is_empty(), "{folder} has no files");
        Self {
            folder: folder.to_owned(),
            files,
        }
    }

    /// All uses of one file by another. A parent that re-exports its children
    /// does not use them by that.
    pub(crate) fn arrows(&self) -> Vec<Arrow> {
        let mut arrows = BTreeSet::new();
        for (from, file) in &self.files {
            for used in &file.uses {
                let Some(to) = self
                    .absolute(from, &used.path)
                    .and_then(|path| self.resolve(&path, 0))
                else {
                    continue;
                };
                let is_child = to.starts_with(&format!("{from}::"));
                if to != *from && !(used.is_public && is_child) {
                    arrows.insert(Arrow {
                        from: from.clone(),
                        to,
                        folder: self.folder.clone(),
                        path: used.path.clone(),
                    });
                }
            }
        }
        arrows.into_iter().collect()
    }

    /// `path` as it is written in the file `from`, from the crate's root on;
    /// `None` if it leads to another crate.
    fn absolute(&self, from: &str, path: &str) -> Option<String> {
        if let Some(rest) = path.strip_prefix("crate::") {
            return Some(rest.to_owned());
        }
        let (mut module, mut rest) = (from, path);
        if let Some(own) = rest.strip_prefix("self::") {
            rest = own;
        } else if let Some(outer) = rest.strip_prefix("super::") {
            let inline = outer.split("::").next()?;
            if self.files[from].defined.contains(inline) {
                // From one inline module of the file to another.
                return None;
            }
            while let Some(outer) = rest.strip_prefix("super::") {
                module = module.rsplit_once("::").map_or("", |(outer, _)| outer);
                rest = outer;
            }
        } else if !self
            .files
            .contains_key(&join(module, rest.split("::").next()?))
        {
            return None;
        }
        Some(join(module, rest))
    }

    /// The file that defines `path`.
    fn resolve(&self, path: &str, depth: usize) -> Option<String> {
        let parts: Vec<_> = path.split("::").filter(|part| !part.is_empty()).collect();
        for length in (0..=parts.len()).rev() {
            let module = parts[..length].join("::");
            let Some(file) = self.files.get(&module) else {
                continue;
            };
            let Some(name) = parts.get(length) else {
                return Some(module);
            };
            if depth > 8 || file.defined.contains(*name) {
                return Some(module);
            }
            let from = file.uses.iter().find(|used| used.name == *name);
            return from
                .and_then(|used| self.absolute(&module, &used.path))
                .filter(|origin| origin != path)
                .and_then(|origin| self.resolve(&origin, depth + 1))
                .or(Some(module));
        }
        None
    }
}

fn is_for_tests(folder: &str, parts: &[&str]) -> bool {
    let file = format!("{folder}/{}", parts.join("/"));
    FOR_TESTS.contains(&file.as_str())
}

fn join(module: &str, rest: &str) -> String {
    match module {
        "" => rest.to_owned(),
        _ => format!("{module}::{rest}"),
    }
}

impl File {
    fn parse(text: &str) -> Self {
        let code = without_tests_and_comments(text);
        let mut uses = vec![];
        let mut rest = String::new();
        for (number, statement) in code.split_inclusive(';').enumerate() {
            let start = statement
                .match_indices("use ")
                .map(|(start, _)| start)
                .find(|start| {
                    let before = statement[..*start].trim_end_matches(' ');
                    before.is_empty()
                        || before.ends_with(['\n', '{', '}', ')', ']'])
                        || before.ends_with("pub")
                });
            let Some(start) = start.filter(|_| statement.ends_with(';') || number == 0) else {
                rest.push_str(statement);
                continue;
            };
            let before = statement[..start].trim_end();
            rest.push_str(before);
            let line = before.rsplit('\n').next().unwrap_or_default().trim();
            let tree = statement[start + 4..].trim_end_matches(';');
            let tree: String = tree.split_whitespace().collect::<Vec<_>>().join(" ");
            for path in expand(&tree) {
                let (path, name) = match path.split_once(" as ") {
                    Some((path, name)) => (path.to_owned(), name.trim().to_owned()),
                    None => (path.clone(), path.rsplit("::").next().unwrap().to_owned()),
                };
                uses.push(Use {
                    path: path.replace(' ', ""),
                    name,
                    is_public: line.starts_with("pub"),
                });
            }
        }
        for start in ["crate::", "super::"] {
            for (index, _) in rest.match_indices(start) {
                if rest[..index]
                    .ends_with(|before: char| is_word(before) || before == '$' || before == ':')
                {
                    continue;
                }
                let path = &rest[index..];
                let end = path.find(|it: char| !is_word(it) && it != ':');
                let path = path[..end.unwrap_or(path.len())].trim_end_matches(':');
                uses.push(Use {
                    path: path.to_owned(),
                    name: String::new(),
                    is_public: false,
                });
            }
        }
        let words: Vec<_> = rest
            .split(|it: char| !is_word(it) && it != '!')
            .filter(|word| !word.is_empty())
            .collect();
        let items = [
            "struct",
            "enum",
            "trait",
            "type",
            "fn",
            "const",
            "static",
            "macro_rules!",
            "mod",
        ];
        let defined = words
            .windows(2)
            .filter(|pair| items.contains(&pair[0]))
            .map(|pair| pair[1].to_owned())
            .collect();
        Self { uses, defined }
    }
}

const fn is_word(it: char) -> bool {
    it.is_ascii_alphanumeric() || it == '_'
}

/// The file up to its inline tests, without its comments.
fn without_tests_and_comments(text: &str) -> String {
    let mut code = String::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let is_test = line.starts_with("#[cfg(test)]") || line.starts_with("#[cfg(all(test");
        if is_test
            && lines
                .peek()
                .is_some_and(|next| next.contains("mod ") && next.ends_with('{'))
        {
            break;
        }
        code.push_str(line.split("//").next().unwrap_or_default());
        code.push('\n');
    }
    code
}

/// The paths of the tree of a `use`.
fn expand(tree: &str) -> Vec<String> {
    let tree = tree.trim();
    let Some((prefix, rest)) = tree.split_once('{') else {
        return match tree {
            "" => vec![],
            _ => vec![tree.to_owned()],
        };
    };
    let rest = &rest[..rest.rfind('}').unwrap_or(rest.len())];
    let mut depth = 0;
    let parts = rest.split(|it: char| {
        depth += i32::from(it == '{') - i32::from(it == '}');
        it == ',' && depth == 0
    });
    parts
        .flat_map(expand)
        .map(|path| format!("{}{path}", prefix.trim()))
        .collect()
}
