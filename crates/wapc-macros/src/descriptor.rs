//! What a service tells of itself: pieces of JSON, which the compiler of the service puts together,
//! since it alone knows the types.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use syn::{Attribute, Expr, ExprLit, GenericArgument, Lit, Meta, PathArguments, Type};

/// Pieces of JSON.
#[derive(Default)]
pub(crate) struct Pieces {
    pieces: Vec<TokenStream>,
    /// The text that has no piece yet.
    text: String,
}

impl Pieces {
    /// Appends a part of JSON.
    pub(crate) fn text(&mut self, json: &str) -> &mut Self {
        self.text.push_str(json);
        self
    }

    /// Appends a string of JSON.
    pub(crate) fn string(&mut self, text: &str) -> &mut Self {
        self.text.push('"');
        for letter in text.chars() {
            match letter {
                '"' | '\\' => self.text.extend(['\\', letter]),
                '\n' => self.text.push_str("\\n"),
                letter if letter < ' ' => {
                    self.text.push_str(&format!("\\u{:04x}", u32::from(letter)));
                }
                letter => self.text.push(letter),
            }
        }
        self.text.push('"');
        self
    }

    /// Appends a constant of text, which needs no escapes.
    pub(crate) fn constant(&mut self, text: TokenStream) -> &mut Self {
        self.flush();
        self.pieces
            .push(quote! { ::wapc_typed::rt::Rope::Text(#text) });
        self
    }

    /// Appends the schema of a type, or its name if it has none.
    pub(crate) fn schema(&mut self, ty: &Type) -> &mut Self {
        // So that an option of a type without a schema is known to be one.
        for (wrapper, kind) in [
            ("Option", "option"),
            ("Vec", "list"),
            ("Raw", "raw"),
            ("Json", "json"),
        ] {
            if let Some(inner) = argument_of(ty, wrapper) {
                let begin = format!("{{\"{kind}\":");
                return self.text(&begin).schema(inner).text("}");
            }
        }
        if let Some(inner) = argument_of(ty, "MsgPack") {
            return self.schema(inner);
        }
        self.flush();
        let name = ty.to_token_stream().to_string().replace(' ', "");
        let mut named = Self::default();
        named.text("{\"other\":").string(&name).text("}");
        let other = named.text;
        self.pieces.push(quote! {{
            #[allow(unused_imports, reason = "types that are described do not need it")]
            use ::wapc_typed::rt::Unknown as _;
            match <::wapc_typed::rt::Known<#ty>>::SCHEMA {
                ::core::option::Option::Some(schema) => schema,
                ::core::option::Option::None => ::wapc_typed::rt::Rope::Text(#other),
            }
        }});
        self
    }

    /// Writes the rope of the pieces.
    pub(crate) fn rope(&mut self) -> TokenStream {
        self.flush();
        let pieces = &self.pieces;
        quote! { ::wapc_typed::rt::Rope::Many(&[#(#pieces),*]) }
    }

    fn flush(&mut self) {
        if !self.text.is_empty() {
            let text = std::mem::take(&mut self.text);
            self.pieces
                .push(quote! { ::wapc_typed::rt::Rope::Text(#text) });
        }
    }
}

/// Returns `T` of `Wrapper<T>`.
fn argument_of<'t>(ty: &'t Type, wrapper: &str) -> Option<&'t Type> {
    let Type::Path(path) = ty else {
        return None;
    };
    let last = path.path.segments.last()?;
    match &last.arguments {
        PathArguments::AngleBracketed(arguments) if last.ident == wrapper => {
            match arguments.args.first()? {
                GenericArgument::Type(ty) if arguments.args.len() == 1 => Some(ty),
                _ => None,
            }
        }
        _ => None,
    }
}

/// Returns the first paragraph of documentation, in one line.
pub(crate) fn first_paragraph(docs: &[Attribute]) -> String {
    let lines = docs.iter().filter_map(|attribute| match &attribute.meta {
        Meta::NameValue(doc) => match &doc.value {
            Expr::Lit(ExprLit {
                lit: Lit::Str(line),
                ..
            }) => Some(line.value().trim().to_owned()),
            _ => None,
        },
        _ => None,
    });
    let paragraph: Vec<_> = lines.take_while(|line| !line.is_empty()).collect();
    paragraph.join(" ")
}
