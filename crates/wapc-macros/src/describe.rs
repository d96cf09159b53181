//! `#[derive(Describe)]`: the form of a type on the wire.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use syn::{
    Attribute, Data, DeriveInput, Error, Fields, LitStr, Result, Token, parse::ParseStream,
    spanned::Spanned,
};

use crate::descriptor::Pieces;

/// The meaning of serde's attributes. `None` where they say something that has no schema here.
#[derive(Default)]
struct Serde {
    rename: Option<String>,
    rename_all: Option<String>,
    has_default: bool,
    is_skipped: bool,
}

pub(crate) fn expand(item: TokenStream) -> Result<TokenStream> {
    let item: DeriveInput = syn::parse2(item)?;
    if !item.generics.params.is_empty() {
        let message = "a generic type has no one form; leave the derive out";
        return Err(Error::new(item.generics.span(), message));
    }
    let mut pieces = Pieces::of(&item.ident);
    if schema(&item, &mut pieces)?.is_none() {
        pieces = Pieces::default();
        pieces
            .text("{\"other\":")
            .string(&item.ident.to_string())
            .text("}");
    }
    let (name, rope) = (&item.ident, pieces.rope());
    Ok(quote! {
        impl ::wapc_typed::Describe for #name {
            const SCHEMA: ::wapc_typed::rt::Rope = #rope;
        }
    })
}

/// Appends the schema. `None` if serde's attributes change it in another way.
fn schema(item: &DeriveInput, pieces: &mut Pieces) -> Result<Option<()>> {
    let Some(serde) = Serde::read(&item.attrs)? else {
        return Ok(None);
    };
    let name = item.ident.to_string();
    match &item.data {
        Data::Struct(data) => {
            pieces.enclose(matches!(data.fields, Fields::Named(_)));
            let case = serde.rename_all.as_deref();
            let Some(()) = contents(&name, &data.fields, case, serde.has_default, pieces)? else {
                return Ok(None);
            };
        }
        Data::Enum(data) => {
            pieces
                .text("{\"enum\":{\"name\":")
                .string(&name)
                .text(",\"variants\":[");
            pieces.enclose(true);
            let mut separator = "";
            for variant in &data.variants {
                let Some(its) = Serde::read(&variant.attrs)? else {
                    return Ok(None);
                };
                if its.is_skipped {
                    continue;
                }
                let name = variant.ident.to_string();
                let Some(named) = its.name(&name, serde.rename_all.as_deref(), pascal) else {
                    return Ok(None);
                };
                pieces.text(separator).text("{\"name\":").string(&named);
                separator = ",";
                if !matches!(variant.fields, Fields::Unit) {
                    pieces.text(",\"type\":");
                    let case = its.rename_all.as_deref();
                    // The record of a variant with the enum's name is nearer than the enum.
                    let is_nearer =
                        matches!(variant.fields, Fields::Named(_)) && variant.ident == item.ident;
                    pieces.enclose(!is_nearer);
                    let Some(()) = contents(&name, &variant.fields, case, false, pieces)? else {
                        return Ok(None);
                    };
                }
                pieces.text("}");
            }
            pieces.text("]}}");
        }
        Data::Union(data) => {
            let message = "a union has no form on the wire";
            return Err(Error::new(data.union_token.span(), message));
        }
    }
    Ok(Some(()))
}

/// Appends the schema of a struct's fields, or of a variant's.
fn contents(
    name: &str,
    fields: &Fields,
    case: Option<&str>,
    all_default: bool,
    pieces: &mut Pieces,
) -> Result<Option<()>> {
    let mut separator = "";
    match fields {
        Fields::Named(fields) => {
            pieces
                .text("{\"record\":{\"name\":")
                .string(name)
                .text(",\"fields\":[");
            for field in &fields.named {
                let Some(serde) = Serde::read(&field.attrs)? else {
                    return Ok(None);
                };
                if serde.is_skipped {
                    continue;
                }
                let ident = field.ident.as_ref().map(ToString::to_string);
                let ident = ident.unwrap_or_default();
                let ident = ident.trim_start_matches("r#");
                let Some(named) = serde.name(ident, case, snake) else {
                    return Ok(None);
                };
                pieces.text(separator).text("{\"name\":").string(&named);
                pieces.text(",\"type\":").schema(&field.ty);
                pieces.text(if serde.has_default || all_default {
                    ",\"default\":true}"
                } else {
                    "}"
                });
                separator = ",";
            }
            pieces.text("]}}");
        }
        Fields::Unnamed(fields) => {
            for field in &fields.unnamed {
                match Serde::read(&field.attrs)? {
                    Some(serde) if !serde.is_skipped && !serde.has_default => {}
                    _ => return Ok(None),
                }
            }
            let mut types = fields.unnamed.iter().map(|field| &field.ty);
            if let (Some(ty), 1) = (types.next(), fields.unnamed.len()) {
                pieces.schema(ty);
                return Ok(Some(()));
            }
            pieces.text("{\"tuple\":[");
            for field in &fields.unnamed {
                pieces.text(separator).schema(&field.ty);
                separator = ",";
            }
            pieces.text("]}");
        }
        Fields::Unit => {
            pieces.text("\"unit\"");
        }
    }
    Ok(Some(()))
}

impl Serde {
    fn read(attributes: &[Attribute]) -> Result<Option<Self>> {
        let mut serde = Self::default();
        let mut is_known = true;
        for attribute in attributes {
            if !attribute.path().is_ident("serde") {
                continue;
            }
            attribute.parse_nested_meta(|meta| {
                let text = |input: ParseStream<'_>| -> Result<Option<String>> {
                    if !input.peek(Token![=]) {
                        return Ok(None);
                    }
                    input.parse::<Token![=]>()?;
                    Ok(Some(input.parse::<LitStr>()?.value()))
                };
                let name = meta.path.to_token_stream().to_string();
                match name.as_str() {
                    "rename" if meta.input.peek(Token![=]) => serde.rename = text(meta.input)?,
                    "rename_all" if meta.input.peek(Token![=]) => {
                        serde.rename_all = text(meta.input)?;
                    }
                    "default" => {
                        text(meta.input)?;
                        serde.has_default = true;
                    }
                    "skip" => serde.is_skipped = true,
                    // It says where serde is, for the derive alone.
                    "crate" => drop(text(meta.input)?),
                    _ => {
                        is_known = false;
                        // Whatever follows, up to the next setting.
                        while !meta.input.is_empty() && !meta.input.peek(Token![,]) {
                            meta.input.parse::<proc_macro2::TokenTree>()?;
                        }
                    }
                }
                Ok(())
            })?;
        }
        Ok(is_known.then_some(serde))
    }

    /// Returns the name on the wire of something with this name in Rust.
    fn name(
        &self,
        name: &str,
        case: Option<&str>,
        words: fn(&str) -> Vec<String>,
    ) -> Option<String> {
        match (&self.rename, case) {
            (Some(name), _) => Some(name.clone()),
            (None, Some(case)) => cased(words(name), case),
            (None, None) => Some(name.to_owned()),
        }
    }
}

/// The words of `a_field`.
fn snake(name: &str) -> Vec<String> {
    name.split('_').map(str::to_owned).collect()
}

/// The words of `AVariant`, where each capital letter begins one.
fn pascal(name: &str) -> Vec<String> {
    let mut words: Vec<String> = vec![];
    for letter in name.chars() {
        match words.last_mut() {
            Some(word) if !letter.is_uppercase() => word.push(letter),
            _ => words.push(letter.to_lowercase().collect()),
        }
    }
    words
}

/// Joins words as serde's `rename_all` does.
fn cased(words: Vec<String>, case: &str) -> Option<String> {
    let capital = |word: &String| {
        let mut letters = word.chars();
        let first = letters.next().map(|it| it.to_ascii_uppercase());
        first.into_iter().chain(letters).collect::<String>()
    };
    let upper = |words: Vec<String>, by: &str| words.join(by).to_ascii_uppercase();
    Some(match case {
        "lowercase" => words.concat(),
        "UPPERCASE" => upper(words, ""),
        "PascalCase" => words.iter().map(capital).collect(),
        "camelCase" => {
            let rest: String = words.iter().skip(1).map(capital).collect();
            words.into_iter().next().unwrap_or_default() + &rest
        }
        "snake_case" => words.join("_"),
        "SCREAMING_SNAKE_CASE" => upper(words, "_"),
        "kebab-case" => words.join("-"),
        "SCREAMING-KEBAB-CASE" => upper(words, "-"),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_cased_as_serde_cases_them() {
        for (case, field, variant) in [
            ("PascalCase", "TwoWords", "TwoWords"),
            ("camelCase", "twoWords", "twoWords"),
            ("snake_case", "two_words", "two_words"),
            ("SCREAMING_SNAKE_CASE", "TWO_WORDS", "TWO_WORDS"),
            ("kebab-case", "two-words", "two-words"),
            ("SCREAMING-KEBAB-CASE", "TWO-WORDS", "TWO-WORDS"),
        ] {
            assert_eq!(cased(snake("two_words"), case).as_deref(), Some(field));
            assert_eq!(cased(pascal("TwoWords"), case).as_deref(), Some(variant));
        }
        assert_eq!(cased(pascal("Two"), "lowercase").as_deref(), Some("two"));
        assert_eq!(cased(pascal("Two"), "another"), None);
    }

    #[test]
    fn a_type_refers_to_itself_where_it_encloses_itself() {
        for (item, is_referred_to) in [
            ("struct Tree { a: Option<Box<Tree>> }", true),
            ("struct Tree { a: Vec<Self> }", true),
            ("struct Tree { a: HashMap<String, (u8, Tree)> }", true),
            ("enum Tree { A(Box<Tree>) }", true),
            ("enum Tree { A { a: Box<Tree> } }", true),
            // Here only its name is known.
            ("struct Tree(Vec<Tree>);", false),
            ("struct Tree { a: Wrapper<Tree> }", false),
            ("enum Tree { Tree { a: Box<Tree> } }", false),
            // This is another type.
            ("struct Tree { a: v1::Tree }", false),
        ] {
            let written = expand(item.parse().expect("it is Rust")).expect(item);
            let written = written.to_string();
            assert_eq!(written.contains("ref"), is_referred_to, "{item}: {written}");
        }
    }

    #[test]
    fn what_has_no_form_is_told_so() {
        for (item, expected) in [
            ("struct S<T>(T);", "a generic type has no one form"),
            ("union U { a: u8 }", "a union has no form"),
        ] {
            let refused = expand(item.parse().expect("it is Rust")).expect_err(item);
            assert!(refused.to_string().contains(expected), "{refused}");
        }
        for item in [
            "#[serde(tag = \"t\")] enum E { A }",
            "struct S { #[serde(flatten)] a: B, c: u8 }",
            "struct S { #[serde(rename(serialize = \"a\", deserialize = \"b\"))] c: u8 }",
            "#[serde(rename_all = \"other\")] struct S { c: u8 }",
        ] {
            let written = expand(item.parse().expect("it is Rust")).expect(item);
            assert!(written.to_string().contains("other"), "{written}");
        }
    }
}
