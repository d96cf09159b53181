//! Guesses of the languages that a module was written in.

use super::report::{Language, Producer};

/// Guesses languages from `producers`. Each language is named once.
pub(super) fn guess(producers: &[Producer]) -> Vec<Language> {
    let mut languages: Vec<Language> = Vec::new();
    for producer in producers {
        if let Some(name) = of_producer(producer)
            && languages.iter().all(|language| language.name != name)
        {
            languages.push(Language {
                name,
                evidence: format!("{}: {}", producer.field, producer.name),
            });
        }
    }
    languages
}

fn of_producer(producer: &Producer) -> Option<&'static str> {
    let name = producer.name.to_lowercase();
    let says = |word: &str| {
        name.split(|letter: char| !letter.is_alphanumeric())
            .any(|part| part == word)
    };
    match producer.field.as_str() {
        "language" if is_c(&name) => Some("C"),
        "language" => LANGUAGES
            .iter()
            .find(|(prefix, _)| name.starts_with(prefix))
            .map(|(_, language)| *language),
        // Tools that process the output of other compilers, such as binaryen and
        // wasm-bindgen, do not tell the language.
        "processed-by" => TOOLS
            .iter()
            .find(|(tool, _)| says(tool))
            .map(|(_, language)| *language),
        _ => None,
    }
}

/// `C` itself, or with the year of a standard: `C99`.
fn is_c(name: &str) -> bool {
    name.strip_prefix('c')
        .is_some_and(|year| year.bytes().all(|letter| letter.is_ascii_digit()))
}

/// Beginnings of the producers section's language names, in lower case: they
/// may carry a version (`C_plus_plus_14`).
const LANGUAGES: &[(&str, &str)] = &[
    ("assemblyscript", "AssemblyScript"),
    ("c_plus_plus", "C++"),
    ("c++", "C++"),
    ("c#", "C#"),
    ("c_sharp", "C#"),
    ("d_language", "D"),
    ("go", "Go"),
    ("haskell", "Haskell"),
    ("javascript", "JavaScript"),
    ("java", "Java"),
    ("kotlin", "Kotlin"),
    ("ocaml", "OCaml"),
    ("python", "Python"),
    ("ruby", "Ruby"),
    ("rust", "Rust"),
    ("swift", "Swift"),
    ("tinygo", "Go"),
    ("zig", "Zig"),
    ("wat", "WebAssembly text"),
];

/// Words in the names of compilers for one language.
const TOOLS: &[(&str, &str)] = &[
    ("asc", "AssemblyScript"),
    ("assemblyscript", "AssemblyScript"),
    ("go", "Go"),
    ("kotlin", "Kotlin"),
    ("rustc", "Rust"),
    ("swiftc", "Swift"),
    ("swift", "Swift"),
    ("tinygo", "Go"),
    ("zig", "Zig"),
    ("clang", "C or C++"),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn names(producers: &[(&str, &str)]) -> Vec<&'static str> {
        let producers: Vec<_> = producers
            .iter()
            .map(|(field, name)| Producer {
                field: (*field).to_owned(),
                name: (*name).to_owned(),
                version: String::new(),
            })
            .collect();
        guess(&producers)
            .into_iter()
            .map(|language| language.name)
            .collect()
    }

    #[test]
    fn languages_are_guessed_once_each() {
        assert_eq!(
            names(&[("language", "Rust"), ("processed-by", "rustc")]),
            ["Rust"]
        );
        assert_eq!(names(&[("language", "C_plus_plus_14")]), ["C++"]);
        assert_eq!(names(&[("language", "C11")]), ["C"]);
        assert_eq!(names(&[("processed-by", "TinyGo")]), ["Go"]);
        assert_eq!(names(&[("processed-by", "Debian clang")]), ["C or C++"]);
        assert_eq!(
            names(&[("processed-by", "wasm-bindgen"), ("sdk", "Go")]),
            [""; 0]
        );
    }
}
