//! What a service tells of itself: pieces of JSON, which the compiler of the service puts together,
//! since it alone knows the types.

use proc_macro2::{Ident, TokenStream, TokenTree};
use quote::{ToTokens, quote};
use syn::{Attribute, Expr, ExprLit, GenericArgument, Lit, Meta, PathArguments, Type};

/// Pieces of JSON.
#[derive(Default)]
pub(crate) struct Pieces {
    /// The type that is described, which may contain itself.
    own: Option<Own>,
    pieces: Vec<TokenStream>,
    /// The text that has no piece yet.
    text: String,
}

struct Own {
    name: Ident,
    /// A record or an enum of this name encloses what comes next, and is the nearest one.
    encloses: bool,
}

impl Pieces {
    /// Describes a type that may contain itself.
    pub(crate) fn of(name: &Ident) -> Self {
        let own = Own {
            name: name.clone(),
            encloses: false,
        };
        Self {
            own: Some(own),
            ..Self::default()
        }
    }

    /// Says whether a reference to the described type by its name leads to it.
    pub(crate) fn enclose(&mut self, encloses: bool) {
        if let Some(own) = &mut self.own {
            own.encloses = encloses;
        }
    }

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
        if let Some(own) = &self.own
            && mentions(ty, &own.name)
        {
            return self.schema_with_itself(ty);
        }
        self.flush();
        let mut named = Self::default();
        named.other(ty);
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

    /// Appends the schema of a type that contains the one which is described: the compiler cannot be
    /// asked for it, since it would ask for this one.
    fn schema_with_itself(&mut self, ty: &Type) -> &mut Self {
        for pointer in ["Box", "Rc", "Arc"] {
            if let Some(inner) = argument_of(ty, pointer) {
                return self.schema(inner);
            }
        }
        for list in ["VecDeque", "BTreeSet", "HashSet"] {
            if let Some(inner) = argument_of(ty, list) {
                return self.text("{\"list\":").schema(inner).text("}");
            }
        }
        for map in ["BTreeMap", "HashMap"] {
            if let [key, value] = arguments_of(ty, map).as_slice() {
                self.text("{\"map\":[").schema(key).text(",");
                return self.schema(value).text("]}");
            }
        }
        match (ty, &self.own) {
            (Type::Tuple(tuple), _) => {
                let mut separator = "{\"tuple\":[";
                for ty in &tuple.elems {
                    self.text(separator).schema(ty);
                    separator = ",";
                }
                self.text("]}")
            }
            (Type::Path(path), Some(Own { name, encloses }))
                if path.path.is_ident(name) || path.path.is_ident("Self") =>
            {
                let kind = if *encloses { "ref" } else { "other" };
                let (begin, name) = (format!("{{\"{kind}\":"), name.to_string());
                self.text(&begin).string(&name).text("}")
            }
            _ => self.other(ty),
        }
    }

    /// Appends the name of a type.
    fn other(&mut self, ty: &Type) -> &mut Self {
        let name = ty.to_token_stream().to_string().replace(' ', "");
        self.text("{\"other\":").string(&name).text("}")
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
    match arguments_of(ty, wrapper).as_slice() {
        [ty] => Some(ty),
        _ => None,
    }
}

/// Returns the types of `Wrapper<K, V>`; none if it has others than types.
fn arguments_of<'t>(ty: &'t Type, wrapper: &str) -> Vec<&'t Type> {
    let Type::Path(path) = ty else {
        return vec![];
    };
    match path
        .path
        .segments
        .last()
        .map(|last| (&last.ident, &last.arguments))
    {
        Some((name, PathArguments::AngleBracketed(arguments))) if name == wrapper => {
            let types = arguments.args.iter().map(|argument| match argument {
                GenericArgument::Type(ty) => Some(ty),
                _ => None,
            });
            types.collect::<Option<_>>().unwrap_or_default()
        }
        _ => vec![],
    }
}

/// Returns `true` if a type names another one by its name alone, or `Self`.
fn mentions(ty: &Type, name: &Ident) -> bool {
    let mut is_in_path = false;
    tokens(ty).any(|token| {
        let was_in_path = is_in_path;
        is_in_path = matches!(&token, TokenTree::Punct(sign) if sign.as_char() == ':');
        matches!(token, TokenTree::Ident(it) if !was_in_path && (it == *name || it == "Self"))
    })
}

/// Returns the tokens of a type, also those in groups.
pub(crate) fn tokens(ty: &Type) -> impl Iterator<Item = TokenTree> {
    let mut open = vec![ty.to_token_stream().into_iter()];
    std::iter::from_fn(move || {
        loop {
            let Some(token) = open.last_mut()?.next() else {
                open.pop();
                continue;
            };
            if let TokenTree::Group(group) = &token {
                open.push(group.stream().into_iter());
            }
            return Some(token);
        }
    })
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
