//! `#[service]`: from a trait to its client and server.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, format_ident, quote};
use syn::{
    Attribute, Error, FnArg, GenericArgument, Ident, ItemTrait, LitStr, Pat, Path, PathArguments,
    Result, ReturnType, Signature, TraitItem, Type, parse::Parser, parse_quote, spanned::Spanned,
};

use crate::descriptor::{Pieces, first_paragraph};

/// A method of the trait.
struct Method {
    name: Ident,
    operation: String,
    codec: Path,
    is_unary: bool,
    docs: Vec<Attribute>,
    arguments: Vec<(Ident, Type)>,
    result: Type,
    error: Type,
}

pub(crate) fn expand(attribute: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let mut namespace = String::new();
    let mut codec: Path = parse_quote!(::wapc_typed::MsgPackCodec);
    let parser = syn::meta::parser(|meta| {
        if meta.path.is_ident("namespace") {
            namespace = meta.value()?.parse::<LitStr>()?.value();
        } else if meta.path.is_ident("codec") {
            codec = meta.value()?.parse()?;
        } else {
            let message = "the settings are `namespace = \"…\"` and `codec = A_TYPE`";
            return Err(meta.error(message));
        }
        Ok(())
    });
    parser.parse2(attribute)?;
    let mut service: ItemTrait = syn::parse2(item)?;
    if !service.generics.params.is_empty() {
        let message = "a service cannot be generic: what it sends has one form";
        return Err(Error::new(service.generics.span(), message));
    }
    let prefix = match namespace.as_str() {
        "" => service.ident.to_string(),
        namespace => format!("{namespace}.{}", service.ident),
    };
    let mut methods = Vec::new();
    for item in &mut service.items {
        let TraitItem::Fn(method) = item else {
            let message = "a service has methods only";
            return Err(Error::new(item.span(), message));
        };
        methods.push(Method::parse(
            &prefix,
            &codec,
            &method.sig,
            &mut method.attrs,
        )?);
    }
    for (number, method) in methods.iter().enumerate() {
        let mut before = methods.iter().take(number);
        if before.any(|other| other.operation == method.operation) {
            let message = format!("two methods have the operation `{}`", method.operation);
            return Err(Error::new(method.name.span(), message));
        }
    }
    let descriptor = descriptor(&service, &prefix, &codec, &methods);
    let client = client(&service, &methods);
    let server = server(&service, &methods);
    Ok(quote! { #service #descriptor #client #server })
}

impl Method {
    fn parse(
        prefix: &str,
        codec: &Path,
        signature: &Signature,
        attributes: &mut Vec<Attribute>,
    ) -> Result<Self> {
        let refuse = |span: Span, message: &str| Err(Error::new(span, message));
        if !signature.generics.params.is_empty() {
            let message = "a method of a service cannot be generic: what it sends has one form";
            return refuse(signature.generics.span(), message);
        }
        if let Some(token) = &signature.asyncness {
            let message = "a method is written without `async`: clients have an async twin of each";
            return refuse(token.span(), message);
        }
        let mut inputs = signature.inputs.iter();
        match inputs.next() {
            Some(FnArg::Receiver(receiver))
                if matches!(receiver.kind, syn::ReceiverKind::Reference(_, _, None)) => {}
            _ => return refuse(signature.span(), "a method of a service takes `&self`"),
        }
        let mut arguments = Vec::new();
        for input in inputs {
            let FnArg::Typed(argument) = input else {
                return refuse(input.span(), "a method has one `self`");
            };
            let Pat::Ident(name) = &*argument.pat else {
                return refuse(argument.pat.span(), "an argument is sent by its name");
            };
            match &*argument.ty {
                Type::ImplTrait(ty) => {
                    let message = "an argument has a type that can be received";
                    return refuse(ty.span(), message);
                }
                Type::Reference(ty) => {
                    let message = "an argument is owned: the other side cannot borrow it";
                    return refuse(ty.span(), message);
                }
                ty => arguments.push((name.ident.clone(), ty.clone())),
            }
        }
        let Some((result, error)) = of_result(&signature.output) else {
            let message = "a method of a service returns a `Result`, since each call may fail";
            return refuse(signature.output.span(), message);
        };
        let mut method = Self {
            name: signature.ident.clone(),
            operation: format!("{prefix}/{}", signature.ident),
            codec: codec.clone(),
            is_unary: false,
            docs: vec![],
            arguments,
            result,
            error,
        };
        let mut kept = Vec::new();
        for attribute in attributes.drain(..) {
            if !attribute.path().is_ident("wapc") {
                if attribute.path().is_ident("doc") {
                    method.docs.push(attribute.clone());
                }
                kept.push(attribute);
                continue;
            }
            attribute.parse_nested_meta(|meta| {
                if meta.path.is_ident("op") {
                    method.operation = meta.value()?.parse::<LitStr>()?.value();
                } else if meta.path.is_ident("unary") {
                    method.is_unary = true;
                } else {
                    return Err(meta.error("the settings are `op = \"…\"` and `unary`"));
                }
                Ok(())
            })?;
        }
        *attributes = kept;
        if method.is_unary && method.arguments.len() != 1 {
            return refuse(signature.span(), "a unary method has one argument");
        }
        if let Some((_, ty)) = method.arguments.iter().find(|(_, ty)| is_payload(ty))
            && !method.is_unary
        {
            let message = "a whole payload is the argument of a unary method";
            return refuse(ty.span(), message);
        }
        Ok(method)
    }

    /// Writes `Ok(())`-shaped code that encodes the arguments into `out`.
    fn encode(&self) -> TokenStream {
        let codec = &self.codec;
        let names: Vec<_> = self.arguments.iter().map(|(name, _)| name).collect();
        let types: Vec<_> = self.arguments.iter().map(|(_, ty)| ty).collect();
        if self.is_unary {
            return match types.iter().all(|ty| is_payload(ty)) {
                true => quote! { #(::wapc_typed::ToPayload::to_payload(&#names, out))* },
                false => quote! { #(<#codec as ::wapc_typed::Codec>::encode(&#names, out))* },
            };
        }
        quote! {{
            #[derive(::wapc_typed::serde::Serialize)]
            #[serde(crate = "::wapc_typed::serde")]
            struct Arguments<'a> {
                #(#names: &'a #types,)*
                #[serde(skip)]
                _borrows: ::core::marker::PhantomData<&'a ()>,
            }
            let arguments = Arguments {
                #(#names: &#names,)*
                _borrows: ::core::marker::PhantomData,
            };
            <#codec as ::wapc_typed::Codec>::encode(&arguments, out)
        }}
    }

    /// Writes the function that decodes the result.
    fn decode_result(&self) -> TokenStream {
        let Self { result, codec, .. } = self;
        match is_payload(result) {
            true => quote! { <#result as ::wapc_typed::FromPayload>::from_payload },
            false => {
                quote! { |response| <#codec as ::wapc_typed::Codec>::decode::<#result>(response) }
            }
        }
    }

    /// Writes an expression for the service's own error in a text.
    fn own_error(&self) -> TokenStream {
        match is_string(&self.error) {
            true => quote! { |text| ::core::option::Option::Some(text.to_owned()) },
            false => quote! { ::wapc_typed::rt::own_error },
        }
    }
}

/// Writes the constant with the service's descriptor: a line of JSON.
fn descriptor(service: &ItemTrait, prefix: &str, codec: &Path, methods: &[Method]) -> TokenStream {
    let mut json = Pieces::default();
    json.text("{\"version\":1,\"service\":").string(prefix);
    json.text(",\"codec\":\"")
        .constant(quote! { <#codec as ::wapc_typed::Codec>::NAME });
    json.text("\",\"operations\":[");
    for (number, method) in methods.iter().enumerate() {
        json.text(if number == 0 { "{" } else { ",{" });
        json.text("\"op\":").string(&method.operation);
        let doc = first_paragraph(&method.docs);
        if !doc.is_empty() {
            json.text(",\"doc\":").string(&doc);
        }
        if method.is_unary {
            json.text(",\"unary\":true");
        }
        json.text(",\"args\":[");
        for (number, (name, ty)) in method.arguments.iter().enumerate() {
            json.text(if number == 0 { "{" } else { ",{" });
            json.text("\"name\":").string(&wire_name(name));
            json.text(",\"type\":").schema(ty).text("}");
        }
        json.text("],\"result\":").schema(&method.result);
        json.text(",\"error\":").schema(&method.error).text("}");
    }
    let rope = json.text("]}\n").rope();
    let visibility = &service.vis;
    let constant = constant(&service.ident, "DESCRIPTOR");
    let about = format!("The descriptor of [`{}`]: a line of JSON.", service.ident);
    quote! {
        #[doc = #about]
        #[allow(dead_code, reason = "a program may use a part of a contract")]
        #visibility const #constant: &str = {
            const ROPE: ::wapc_typed::rt::Rope = #rope;
            const BYTES: [u8; ROPE.length()] = ROPE.bytes();
            ::wapc_typed::rt::text(&BYTES)
        };
    }
}

/// The name of an argument on the wire, which is that of serde.
fn wire_name(name: &Ident) -> String {
    name.to_string().trim_start_matches("r#").to_owned()
}

/// The name of a service's constant: `GREETER_OPERATIONS`.
fn constant(service: &Ident, what: &str) -> Ident {
    format_ident!("{}_{what}", screaming(&service.to_string()))
}

fn client(service: &ItemTrait, methods: &[Method]) -> TokenStream {
    let visibility = &service.vis;
    let client = format_ident!("{}Client", service.ident);
    let descriptor = constant(&service.ident, "DESCRIPTOR");
    let about = format!(
        "A client of [`{}`], over something that can be called.",
        service.ident
    );
    let calls = methods.iter().map(|method| {
        let Method {
            name,
            docs,
            result,
            error,
            operation,
            ..
        } = method;
        let (names, types): (Vec<_>, Vec<_>) = method.arguments.iter().cloned().unzip();
        let (encode, own_error) = (method.encode(), method.own_error());
        let decode = method.decode_result();
        quote! {
            #(#docs)*
            #visibility fn #name(
                &self,
                #(#names: #types),*
            ) -> ::core::result::Result<#result, ::wapc_typed::CallError<#error>>
            where
                C: ::wapc_typed::Call,
            {
                ::wapc_typed::rt::call(
                    &self.caller,
                    #operation,
                    |out| #encode,
                    #decode,
                    #own_error,
                )
            }
        }
    });
    let awaited = methods.iter().map(|method| {
        let Method {
            name,
            docs,
            result,
            error,
            operation,
            ..
        } = method;
        let twin = format_ident!("{name}_async");
        let (names, types): (Vec<_>, Vec<_>) = method.arguments.iter().cloned().unzip();
        let (encode, own_error) = (method.encode(), method.own_error());
        let decode = method.decode_result();
        quote! {
            #(#docs)*
            #[cfg(not(target_arch = "wasm32"))]
            #visibility async fn #twin(
                &self,
                #(#names: #types),*
            ) -> ::core::result::Result<#result, ::wapc_typed::CallError<#error>>
            where
                C: ::wapc_typed::CallAsync,
            {
                let mut payload = ::std::vec::Vec::new();
                let encoded = {
                    let out = &mut payload;
                    #encode
                };
                ::wapc_typed::rt::call_async(
                    &self.caller,
                    #operation,
                    encoded.map(|()| payload),
                    #decode,
                    #own_error,
                )
                .await
            }
        }
    });
    quote! {
        #[doc = #about]
        #[derive(Clone, Copy, Debug)]
        #visibility struct #client<C> {
            caller: C,
        }

        #[allow(dead_code, reason = "a program may use a part of a contract")]
        impl<C> #client<C> {
            /// Creates a client over something that can be called.
            #visibility const fn over(caller: C) -> Self {
                Self { caller }
            }

            #(#calls)*
            #(#awaited)*
        }

        #[cfg(not(target_arch = "wasm32"))]
        #[allow(dead_code, reason = "a program may use a part of a contract")]
        impl #client<()> {
            /// Checks by a module's descriptor that the guest has each operation of the service, with
            /// types that fit.
            ///
            /// # Errors
            ///
            /// `CheckError` with the first operation that it lacks, or if it has no descriptor.
            #visibility fn check(module: &[u8]) -> ::core::result::Result<(), ::wapc_typed::CheckError> {
                ::wapc_typed::rt::check(#descriptor, module)
            }

            /// Returns a probe for a swap to the module: it fails if [`Self::check`] does.
            #visibility fn probe(
                module: &[u8],
            ) -> impl FnOnce(&mut ::wapc_typed::rt::Candidate<'_>) -> ::wapc_typed::rt::Probed + Send {
                move |_| ::core::result::Result::Ok(Self::check(module)?)
            }
        }
    }
}

fn server(service: &ItemTrait, methods: &[Method]) -> TokenStream {
    let visibility = &service.vis;
    let contract = &service.ident;
    let server = format_ident!("{contract}Server");
    let descriptor = constant(contract, "DESCRIPTOR");
    let constant = constant(contract, "OPERATIONS");
    let about = format!("Answers calls by an implementation of [`{contract}`].");
    let about_operations = format!("The operations of [`{contract}`].");
    let operations: Vec<_> = methods.iter().map(|method| &method.operation).collect();
    let arms = methods.iter().map(|method| {
        let Method { name, operation, codec, result, error, .. } = method;
        let names: Vec<_> = method.arguments.iter().map(|(name, _)| name).collect();
        let types: Vec<_> = method.arguments.iter().map(|(_, ty)| ty).collect();
        let is_payload_itself = method.is_unary && types.iter().all(|ty| is_payload(ty));
        let decode = match method.is_unary {
            true if is_payload_itself => quote! {
                #(let #names: #types = ::wapc_typed::FromPayload::from_payload(payload).map_err(undecoded)?;)*
            },
            true => quote! { #(let #names: #types = <#codec as ::wapc_typed::Codec>::decode(payload).map_err(undecoded)?;)* },
            false => quote! {
                #[derive(::wapc_typed::serde::Deserialize)]
                #[serde(crate = "::wapc_typed::serde")]
                struct Arguments {
                    #(#names: #types,)*
                }
                let Arguments { #(#names),* } = match payload.is_empty() {
                    // A call without arguments may have no payload.
                    true => ::wapc_typed::rt::decode(&[0x80]),
                    false => <#codec as ::wapc_typed::Codec>::decode(payload),
                }
                .map_err(undecoded)?;
            },
        };
        let text = match is_string(error) {
            true => quote! { error },
            false => quote! { ::wapc_typed::rt::error_text(error) },
        };
        let encode = match is_payload(result) {
            true => quote! { ::wapc_typed::ToPayload::to_payload(&result, response) },
            false => quote! { <#codec as ::wapc_typed::Codec>::encode(&result, response) },
        };
        quote! {
            #operation => {
                let undecoded = |source| ::wapc_typed::ServeError::decode(operation, source);
                #decode
                match #contract::#name(&self.service, #(#names),*) {
                    ::core::result::Result::Ok(result) => {
                        #encode
                            .map_err(|source| ::wapc_typed::ServeError::encode(operation, source))
                    }
                    ::core::result::Result::Err(error) => {
                        ::core::result::Result::Err(::wapc_typed::ServeError::own(#text))
                    }
                }
            }
        }
    });
    let registers = operations.iter().map(|operation| {
        quote! {
            ::wapc_typed::guest::register(#operation, |payload| {
                let server = Self::new(T::default());
                ::wapc_typed::guest::answer(&server, #operation, payload)
            });
        }
    });
    quote! {
        #[doc = #about_operations]
        #[allow(dead_code, reason = "a program may use a part of a contract")]
        #visibility const #constant: &[&str] = &[#(#operations),*];

        #[doc = #about]
        #[derive(Clone, Copy, Debug)]
        #visibility struct #server<T> {
            service: T,
        }

        #[allow(dead_code, reason = "a program may use a part of a contract")]
        impl<T: #contract> #server<T> {
            /// The descriptor of the service: a line of JSON.
            #visibility const DESCRIPTOR: &'static str = #descriptor;

            /// Creates a server of an implementation.
            #visibility const fn new(service: T) -> Self {
                Self { service }
            }
        }

        #[cfg(target_arch = "wasm32")]
        impl<T: #contract + ::core::default::Default + 'static> #server<T> {
            /// Answers the host's calls by the default of the implementation. Call it in `wapc_init`.
            #visibility fn register() {
                #(#registers)*
            }
        }

        impl<T: #contract> ::wapc_typed::Serve for #server<T> {
            fn operations(&self) -> &'static [&'static str] {
                #constant
            }

            fn serve(
                &self,
                operation: &str,
                payload: &[u8],
                response: &mut ::std::vec::Vec<u8>,
            ) -> ::core::result::Result<(), ::wapc_typed::ServeError> {
                match operation {
                    #(#arms)*
                    other => ::core::result::Result::Err(::wapc_typed::ServeError::unknown(other)),
                }
            }
        }
    }
}

/// Returns the two types of a `Result`.
fn of_result(output: &ReturnType) -> Option<(Type, Type)> {
    let ReturnType::Type(_, ty) = output else {
        return None;
    };
    let Type::Path(path) = &**ty else {
        return None;
    };
    let last = path.path.segments.last()?;
    let PathArguments::AngleBracketed(arguments) = &last.arguments else {
        return None;
    };
    let mut types = arguments.args.iter().filter_map(|argument| match argument {
        GenericArgument::Type(ty) => Some(ty.clone()),
        _ => None,
    });
    let is_result = last.ident == "Result";
    match (types.next(), types.next()) {
        (Some(result), Some(error)) if is_result => Some((result, error)),
        _ => None,
    }
}

/// Whether a type says itself how it is a payload.
fn is_payload(ty: &Type) -> bool {
    let Type::Path(path) = ty else {
        return false;
    };
    let last = path.path.segments.last().map(|last| last.ident.to_string());
    matches!(last.as_deref(), Some("Raw" | "Json" | "MsgPack"))
}

fn is_string(ty: &Type) -> bool {
    let text = ty.to_token_stream().to_string().replace(' ', "");
    matches!(
        text.as_str(),
        "String" | "std::string::String" | "::std::string::String"
    )
}

/// `TwoWords` as `TWO_WORDS`.
fn screaming(name: &str) -> String {
    let mut screaming = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !screaming.is_empty() {
            screaming.push('_');
        }
        screaming.extend(letter.to_uppercase());
    }
    screaming
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(item: &str) -> String {
        let item = item.parse().expect("it is Rust");
        match expand(TokenStream::new(), item) {
            Ok(_) => panic!("it is taken"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn what_cannot_be_a_service_is_told_so() {
        for (item, expected) in [
            ("trait T<A> {}", "a service cannot be generic"),
            ("trait T { const A: u8; }", "a service has methods only"),
            (
                "trait T { fn f<A>(&self) -> Result<A, String>; }",
                "a method of a service cannot be generic",
            ),
            (
                "trait T { async fn f(&self) -> Result<(), String>; }",
                "written without `async`",
            ),
            ("trait T { fn f() -> Result<(), String>; }", "takes `&self`"),
            (
                "trait T { fn f(&mut self) -> Result<(), String>; }",
                "takes `&self`",
            ),
            ("trait T { fn f(&self) -> u32; }", "returns a `Result`"),
            ("trait T { fn f(&self); }", "returns a `Result`"),
            (
                "trait T { fn f(&self, a: impl Sized) -> Result<(), String>; }",
                "a type that can be received",
            ),
            (
                "trait T { fn f(&self, a: &str) -> Result<(), String>; }",
                "an argument is owned",
            ),
            (
                "trait T { fn f(&self, (a, b): (u8, u8)) -> Result<(), String>; }",
                "sent by its name",
            ),
            (
                "trait T { #[wapc(unary)] fn f(&self) -> Result<(), String>; }",
                "a unary method has one argument",
            ),
            (
                "trait T { fn f(&self, a: Raw<String>) -> Result<(), String>; }",
                "the argument of a unary method",
            ),
            (
                "trait T { #[wapc(name = \"x\")] fn f(&self) -> Result<(), String>; }",
                "the settings are `op",
            ),
            (
                "trait T { #[wapc(op = \"x\")] fn f(&self) -> Result<(), String>;
                    #[wapc(op = \"x\")] fn g(&self) -> Result<(), String>; }",
                "two methods have the operation `x`",
            ),
        ] {
            let refused = refusal(item);
            assert!(refused.contains(expected), "{item}: {refused}");
        }
        let setting = "name = 1".parse().expect("it is Rust");
        assert!(expand(setting, quote! { trait T {} }).is_err());
    }

    #[test]
    fn names_of_constants_are_screaming() {
        assert_eq!(screaming("TwoWords"), "TWO_WORDS");
        assert_eq!(screaming("One"), "ONE");
    }
}
