//! `#[service]`: from a trait to its client and server.

use std::collections::HashSet;

use proc_macro2::{Span, TokenStream, TokenTree};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::{
    Attribute, Error, FnArg, GenericArgument, Ident, ItemTrait, LitStr, Pat, PatType, Path,
    PathArguments, Result, ReturnType, Signature, TraitItem, TraitItemFn, Type, parse::Parser,
    parse_quote,
};

use crate::descriptor::{Pieces, first_paragraph, tokens};

/// Writes code whose variables are not those of the contract with the same names.
macro_rules! code {
    ($($tokens:tt)*) => { quote_spanned! { Span::mixed_site()=> $($tokens)* } };
}

/// A method of the trait.
struct Method {
    name: Ident,
    operation: String,
    codec: Path,
    is_unary: bool,
    is_async: bool,
    docs: Vec<Attribute>,
    /// As they stand in the trait: the context too.
    parameters: Vec<Parameter>,
    result: Type,
    error: Type,
}

enum Parameter {
    /// The context of the call, which is not sent.
    Context(Type),
    Argument(Argument),
}

struct Argument {
    name: Ident,
    ty: Type,
    passing: Passing,
}

/// The way in which an argument comes to the method.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Passing {
    Owned,
    /// `&str`, lent from the payload.
    Text,
    /// `&[u8]`, lent from the payload.
    Bytes,
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
        return Err(Error::new_spanned(&service.generics, message));
    }
    let prefix = match namespace.as_str() {
        "" => service.ident.to_string(),
        namespace => format!("{namespace}.{}", service.ident),
    };
    let mut methods = Vec::new();
    for item in &mut service.items {
        let TraitItem::Fn(method) = item else {
            let message = "a service has methods only";
            return Err(Error::new_spanned(item, message));
        };
        methods.push(Method::parse(
            &prefix,
            &codec,
            &method.sig,
            &mut method.attrs,
        )?);
        if method.sig.asyncness.is_some() {
            return_a_future(method);
        }
    }
    let mut operations = HashSet::new();
    // What the client has beside the methods.
    let mut names = HashSet::from(["over", "check", "probe"].map(str::to_owned));
    for method in &methods {
        let Method {
            name, operation, ..
        } = method;
        let refuse = |message: String| Err(Error::new_spanned(name, message));
        if !operations.insert(operation) {
            return refuse(format!(
                "two methods have the operation `{operation}`: give this one another by \
                 `#[wapc(op = \"…\")]`"
            ));
        }
        for taken in [wire_name(name), method.twin().to_string()] {
            if !names.insert(taken.clone()) {
                return refuse(format!(
                    "the client has a method `{taken}` already: rename this one, and keep its operation \
                     by `#[wapc(op = \"{operation}\")]`; each has an async twin, `{name}_async`"
                ));
            }
        }
    }
    let descriptor = descriptor(&service, &prefix, &codec, &methods);
    let client = client(&service, &methods);
    let server = server(&service, &methods);
    Ok(quote! { #service #descriptor #client #server })
}

/// Writes `async fn` as a function that returns a future which may move between threads.
fn return_a_future(method: &mut TraitItemFn) {
    method.sig.asyncness = None;
    if let ReturnType::Type(_, output) = &method.sig.output {
        method.sig.output = parse_quote! {
            -> impl ::core::future::Future<Output = #output> + ::core::marker::Send
        };
    }
    if let Some(body) = &mut method.default {
        *body = parse_quote! {{ async move #body }};
    }
}

impl Method {
    fn parse(
        prefix: &str,
        codec: &Path,
        signature: &Signature,
        attributes: &mut Vec<Attribute>,
    ) -> Result<Self> {
        if !signature.generics.params.is_empty() {
            let message = "a method of a service cannot be generic, since what it sends has one form: name \
                           the type, such as `String`";
            return Err(Error::new_spanned(&signature.generics, message));
        }
        let mut inputs = signature.inputs.iter();
        match inputs.next() {
            Some(FnArg::Receiver(receiver))
                if matches!(receiver.kind, syn::ReceiverKind::Reference(_, _, None)) => {}
            other => {
                let message = "a method of a service takes `&self`, since calls may run side by side: put state \
                               that changes behind a lock";
                return Err(match other {
                    Some(input) => Error::new_spanned(input, message),
                    None => Error::new_spanned(&signature.ident, message),
                });
            }
        }
        let is_async = signature.asyncness.is_some();
        let mut parameters = Vec::new();
        for input in inputs {
            let FnArg::Typed(input) = input else {
                return Err(Error::new_spanned(input, "a method has one `self`"));
            };
            let parameter = Parameter::parse(input, is_async)?;
            let is_context = |it: &Parameter| matches!(it, Parameter::Context(_));
            if is_context(&parameter) && parameters.iter().any(is_context) {
                let message = "a method has one context: leave this one out";
                return Err(Error::new_spanned(input, message));
            }
            parameters.push(parameter);
        }
        let Some((result, error)) = of_result(&signature.output) else {
            let message = "a method of a service returns a `Result`, since each call may fail: \
                           write `-> Result<T, String>`, or with an error of your own";
            return Err(match &signature.output {
                ReturnType::Default => Error::new_spanned(&signature.ident, message),
                output => Error::new_spanned(output, message),
            });
        };
        for ty in [&result, &error] {
            if borrows(ty) {
                let message = "a result is owned, since what it borrowed would be gone when the call \
                               has ended: return a `String` or a `Vec<u8>`";
                return Err(Error::new_spanned(ty, message));
            }
        }
        let mut method = Self {
            name: signature.ident.clone(),
            operation: format!("{prefix}/{}", wire_name(&signature.ident)),
            codec: codec.clone(),
            is_unary: false,
            is_async,
            docs: vec![],
            parameters,
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
        if method.is_unary && method.arguments().count() != 1 {
            let message = "a unary method has one argument";
            return Err(Error::new_spanned(&signature.inputs, message));
        }
        if let Some(payload) = method.arguments().find(|it| is_payload(&it.ty))
            && !method.is_unary
        {
            let message =
                "a whole payload is the argument of a unary method: write `#[wapc(unary)]`";
            return Err(Error::new_spanned(&payload.ty, message));
        }
        Ok(method)
    }

    /// Returns what is sent.
    fn arguments(&self) -> impl Iterator<Item = &Argument> {
        self.parameters
            .iter()
            .filter_map(|parameter| match parameter {
                Parameter::Context(_) => None,
                Parameter::Argument(argument) => Some(argument),
            })
    }

    /// Returns the name of the client's async method.
    fn twin(&self) -> Ident {
        format_ident!("{}_async", self.name)
    }

    /// Writes `Ok(())`-shaped code that encodes the arguments into `out`.
    fn encode(&self) -> TokenStream {
        let codec = &self.codec;
        if self.is_unary {
            let encode = self.arguments().map(|it| match is_payload(&it.ty) {
                true => code! { ::wapc_typed::ToPayload::to_payload },
                false => code! { <#codec as ::wapc_typed::Codec>::encode },
            });
            let sent = self.arguments().map(Argument::sent);
            return code! { #(#encode(#sent, out))* };
        }
        let names: Vec<_> = self.arguments().map(|it| &it.name).collect();
        let types = self
            .arguments()
            .map(|Argument { ty, passing, .. }| match passing {
                Passing::Owned => code! { &'a #ty },
                Passing::Text => code! { &'a str },
                Passing::Bytes => code! { &'a ::wapc_typed::rt::Bytes<'a> },
            });
        let sent = self.arguments().map(Argument::sent);
        code! {{
            #[derive(::wapc_typed::serde::Serialize)]
            #[serde(crate = "::wapc_typed::serde")]
            struct __Arguments<'a> {
                #(#names: #types,)*
                #[serde(skip)]
                _borrows: ::core::marker::PhantomData<&'a ()>,
            }
            let arguments = __Arguments {
                #(#names: #sent,)*
                _borrows: ::core::marker::PhantomData,
            };
            <#codec as ::wapc_typed::Codec>::encode(&arguments, out)
        }}
    }

    /// Writes statements that decode the arguments of `payload`.
    fn decode(&self) -> TokenStream {
        let codec = &self.codec;
        let names: Vec<_> = self.arguments().map(|it| &it.name).collect();
        if self.is_unary {
            let types = self.arguments().map(|it| it.received(&code!('_)));
            let decode = self.arguments().map(|it| match is_payload(&it.ty) {
                true => code! { ::wapc_typed::FromPayload::from_payload },
                false => code! { <#codec as ::wapc_typed::Codec>::decode },
            });
            return code! { #(let #names: #types = #decode(payload).map_err(undecoded)?;)* };
        }
        let types = self.arguments().map(|it| it.received(&code!('a)));
        let is_lent = |it: &Argument| it.passing != Passing::Owned;
        let borrow = self.arguments().map(|it| match is_lent(it) {
            true => code! { #[serde(borrow)] },
            false => code! {},
        });
        let lifetime = self.arguments().any(is_lent).then(|| code! { <'a> });
        code! {
            #[derive(::wapc_typed::serde::Deserialize)]
            #[serde(crate = "::wapc_typed::serde")]
            struct __Arguments #lifetime {
                #(#borrow #names: #types,)*
            }
            let __Arguments { #(#names),* } = match payload.is_empty() {
                // A call without arguments may have no payload.
                true if <#codec as ::wapc_typed::Codec>::NAMES_FIELDS => {
                    ::wapc_typed::rt::decode(&[0x80])
                }
                _ => <#codec as ::wapc_typed::Codec>::decode(payload),
            }
            .map_err(undecoded)?;
        }
    }

    /// Writes the call of an implementation in `self.service` with what [`Self::decode`] has decoded.
    fn call(&self, contract: &Ident) -> TokenStream {
        let name = &self.name;
        let passed = self.parameters.iter().map(|parameter| match parameter {
            Parameter::Context(_) => code! { context },
            Parameter::Argument(Argument { name, passing, .. }) => match passing {
                Passing::Owned => code! { #name },
                Passing::Text | Passing::Bytes => code! { &#name },
            },
        });
        code! { #contract::#name(&self.service, #(#passed),*) }
    }

    /// Writes what becomes of the outcome in `outcome`.
    fn answer(&self) -> TokenStream {
        let Self {
            codec,
            result,
            error,
            ..
        } = self;
        let text = match is_string(error) {
            true => code! { error },
            false => code! { ::wapc_typed::rt::error_text(error) },
        };
        let encode = match is_payload(result) {
            true => code! { ::wapc_typed::ToPayload::to_payload },
            false => code! { <#codec as ::wapc_typed::Codec>::encode },
        };
        code! {
            match outcome {
                ::core::result::Result::Ok(result) => #encode(&result, response)
                    .map_err(|source| ::wapc_typed::ServeError::encode(operation, source)),
                ::core::result::Result::Err(error) => {
                    ::core::result::Result::Err(::wapc_typed::ServeError::own(#text))
                }
            }
        }
    }

    /// Writes the function that decodes the result.
    fn decode_result(&self) -> TokenStream {
        let Self { result, codec, .. } = self;
        match is_payload(result) {
            true => code! { <#result as ::wapc_typed::FromPayload>::from_payload },
            false => {
                code! { |response| <#codec as ::wapc_typed::Codec>::decode::<#result>(response) }
            }
        }
    }

    /// Writes an expression for the service's own error in a text.
    fn own_error(&self) -> TokenStream {
        match is_string(&self.error) {
            true => code! { |text| ::core::option::Option::Some(text.to_owned()) },
            false => code! { ::wapc_typed::rt::own_error },
        }
    }
}

impl Parameter {
    fn parse(input: &PatType, is_async: bool) -> Result<Self> {
        let ty = &*input.ty;
        let mut passing = Passing::Owned;
        if let Type::Reference(reference) = ty {
            let is_plain = reference.lifetime.is_none() && reference.mutability.is_none();
            match &*reference.elem {
                Type::Path(path) if is_plain && is_context(path) => {
                    let mut path = path.clone();
                    // An `async fn` takes no type whose lifetime is hidden.
                    if let Some(last) = path.path.segments.last_mut()
                        && last.arguments.is_none()
                    {
                        last.arguments = PathArguments::AngleBracketed(parse_quote!(<'_>));
                    }
                    return Ok(Self::Context(parse_quote!(&#path)));
                }
                Type::Path(path) if is_plain && path.path.is_ident("str") => {
                    passing = Passing::Text;
                }
                Type::Slice(slice) if is_plain && is_u8(&slice.elem) => passing = Passing::Bytes,
                _ => {}
            }
        }
        if tokens(ty).any(|token| matches!(&token, TokenTree::Ident(it) if *it == "CallContext")) {
            let message = "a context is lent, and not sent: take `&CallContext`";
            return Err(Error::new_spanned(ty, message));
        }
        if passing == Passing::Owned && borrows(ty) {
            let message = "an argument is `&str`, `&[u8]` or owned: the other side cannot borrow \
                           anything else; pass a `String`, a `Vec` or a type of your own";
            return Err(Error::new_spanned(ty, message));
        }
        if passing != Passing::Owned && is_async {
            let message = "an argument of an async method is owned, since the payload is not lent \
                           across an await: pass a `String` or a `Vec<u8>`";
            return Err(Error::new_spanned(ty, message));
        }
        if tokens(ty)
            .any(|token| matches!(&token, TokenTree::Ident(it) if *it == "impl" || *it == "dyn"))
        {
            let message =
                "an argument has one type, which can be received: name it, such as `String`";
            return Err(Error::new_spanned(ty, message));
        }
        match &*input.pat {
            Pat::Ident(pattern) => Ok(Self::Argument(Argument {
                name: pattern.ident.clone(),
                ty: ty.clone(),
                passing,
            })),
            pattern => {
                let message = "an argument is sent by its name: give it one";
                Err(Error::new_spanned(pattern, message))
            }
        }
    }
}

impl Argument {
    /// Writes a reference to what is encoded.
    fn sent(&self) -> TokenStream {
        let name = &self.name;
        match self.passing {
            Passing::Owned => code! { &#name },
            Passing::Text => code! { #name },
            Passing::Bytes => code! { &::wapc_typed::rt::Bytes::new(#name) },
        }
    }

    /// Writes the type of what is decoded.
    fn received(&self, lifetime: &TokenStream) -> TokenStream {
        let ty = &self.ty;
        match self.passing {
            Passing::Owned => code! { #ty },
            Passing::Text => code! { ::wapc_typed::rt::Text<#lifetime> },
            Passing::Bytes => code! { ::wapc_typed::rt::Bytes<#lifetime> },
        }
    }

    /// Returns the type in the descriptor.
    fn described(&self) -> Type {
        match self.passing {
            Passing::Owned => self.ty.clone(),
            Passing::Text => parse_quote!(::std::string::String),
            Passing::Bytes => parse_quote!(Vec<u8>),
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
        for (number, argument) in method.arguments().enumerate() {
            json.text(if number == 0 { "{" } else { ",{" });
            json.text("\"name\":").string(&wire_name(&argument.name));
            json.text(",\"type\":")
                .schema(&argument.described())
                .text("}");
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

/// The name of an argument or a method on the wire, which is that of serde.
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
        let names = method.arguments().map(|it| &it.name);
        let types = method.arguments().map(|it| &it.ty);
        let (encode, own_error) = (method.encode(), method.own_error());
        let decode = method.decode_result();
        code! {
            #(#docs)*
            #visibility fn #name(
                &self,
                #(#names: #types),*
            ) -> ::core::result::Result<#result, ::wapc_typed::CallError<#error>>
            where
                __Caller: ::wapc_typed::Call,
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
            docs,
            result,
            error,
            operation,
            ..
        } = method;
        let twin = method.twin();
        let names = method.arguments().map(|it| &it.name);
        let types = method.arguments().map(|it| &it.ty);
        let (encode, own_error) = (method.encode(), method.own_error());
        let decode = method.decode_result();
        code! {
            #(#docs)*
            #[cfg(not(target_arch = "wasm32"))]
            #visibility async fn #twin(
                &self,
                #(#names: #types),*
            ) -> ::core::result::Result<#result, ::wapc_typed::CallError<#error>>
            where
                __Caller: ::wapc_typed::CallAsync,
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
    let of_trait = client_of_trait(service, methods, &client);
    code! {
        #of_trait

        #[doc = #about]
        #[derive(Clone, Copy, Debug)]
        #visibility struct #client<C> {
            caller: C,
        }

        #[allow(dead_code, reason = "a program may use a part of a contract")]
        impl<__Caller> #client<__Caller> {
            /// Creates a client over something that can be called.
            #visibility const fn over(caller: __Caller) -> Self {
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

/// Writes the trait for the client, where each error can be made of a call's.
fn client_of_trait(service: &ItemTrait, methods: &[Method], client: &Ident) -> TokenStream {
    let contract = &service.ident;
    let own = methods.iter().map(|method| {
        let Method {
            name,
            result,
            error,
            ..
        } = method;
        let parameters = method.parameters.iter().map(|parameter| match parameter {
            Parameter::Context(ty) => code! { _: #ty },
            Parameter::Argument(Argument { name, ty, .. }) => code! { #name: #ty },
        });
        let (names, twin) = (method.arguments().map(|it| &it.name), method.twin());
        let names: Vec<_> = names.collect();
        let asyncness = method.is_async.then(|| code! { async });
        let called = match method.is_async {
            true => code! {
                #[cfg(not(target_arch = "wasm32"))]
                let called = Self::#twin(self, #(#names),*).await;
                #[cfg(target_arch = "wasm32")]
                let called = Self::#name(self, #(#names),*);
            },
            false => code! { let called = Self::#name(self, #(#names),*); },
        };
        code! {
            #asyncness fn #name(
                &self,
                #(#parameters),*
            ) -> ::core::result::Result<#result, #error> {
                #called
                called.map_err(::wapc_typed::rt::FromCall::<__Caller>::from_call)
            }
        }
    });
    let mut known = HashSet::new();
    let errors = methods.iter().map(|method| &method.error);
    let errors = errors.filter(|error| known.insert(error.to_token_stream().to_string()));
    let callable = [
        (false, code! { ::wapc_typed::Call }),
        (
            true,
            code! { ::wapc_typed::rt::CallAwaited + ::core::marker::Sync },
        ),
    ];
    let callable = callable.into_iter().filter_map(|(is_async, bound)| {
        let mut methods = methods.iter();
        methods
            .any(|method| method.is_async == is_async)
            .then_some(bound)
    });
    let supertraits = &service.supertraits;
    let supertraits = (!supertraits.is_empty()).then(|| code! { Self: #supertraits, });
    code! {
        /// What fails in a call becomes an error of the service by `From<CallError<…>>`. The context is
        /// not sent.
        impl<__Caller> #contract for #client<__Caller>
        where
            #(__Caller: #callable,)*
            #(#errors: ::wapc_typed::rt::FromCall<__Caller>,)*
            #supertraits
        {
            #(#own)*
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
    let awaited: Vec<_> = methods.iter().filter(|method| method.is_async).collect();
    let undecoded = code! {
        let undecoded = |source| ::wapc_typed::ServeError::decode(operation, source);
    };
    let arms = methods.iter().map(|method| {
        let (operation, decode, answer) = (&method.operation, method.decode(), method.answer());
        let call = method.call(contract);
        match method.is_async {
            false => code! {
                #operation => {
                    #undecoded
                    #decode
                    let outcome = #call;
                    #answer
                }
            },
            true => code! {
                #[cfg(target_arch = "wasm32")]
                #operation => {
                    #undecoded
                    #decode
                    let outcome = ::wapc_typed::rt::poll_once(operation, #call)?;
                    #answer
                }
                #[cfg(not(target_arch = "wasm32"))]
                #operation => {
                    ::core::result::Result::Err(::wapc_typed::ServeError::awaits(operation))
                }
            },
        }
    });
    let async_operations: Vec<_> = awaited.iter().map(|method| &method.operation).collect();
    let async_arms = awaited.iter().map(|method| {
        let (operation, decode, answer) = (&method.operation, method.decode(), method.answer());
        let call = method.call(contract);
        code! {
            #operation => {
                #undecoded
                #decode
                let outcome = #call.await;
                #answer
            }
        }
    });
    let serve_async = (!awaited.is_empty()).then(|| {
        code! {
            #[cfg(not(target_arch = "wasm32"))]
            fn async_operations(&self) -> &'static [&'static str] {
                &[#(#async_operations),*]
            }

            #[cfg(not(target_arch = "wasm32"))]
            async fn serve_async<'s>(
                &'s self,
                context: &'s ::wapc_typed::CallContext<'s>,
                operation: &'s str,
                payload: &'s [u8],
                response: &'s mut ::std::vec::Vec<u8>,
            ) -> ::core::result::Result<(), ::wapc_typed::ServeError> {
                match operation {
                    #(#async_arms)*
                    _ => ::wapc_typed::Serve::serve(self, context, operation, payload, response),
                }
            }
        }
    });
    // A future that borrows the implementation may move between threads.
    let bound = match awaited.is_empty() {
        true => code! { #contract },
        false => code! { #contract + ::core::marker::Sync },
    };
    let registers = operations.iter().map(|operation| {
        code! {
            ::wapc_typed::guest::register(#operation, |payload| {
                let server = Self::new(<__Service as ::core::default::Default>::default());
                ::wapc_typed::guest::answer(&server, #operation, payload)
            });
        }
    });
    code! {
        #[doc = #about_operations]
        #[allow(dead_code, reason = "a program may use a part of a contract")]
        #visibility const #constant: &[&str] = &[#(#operations),*];

        #[doc = #about]
        #[derive(Clone, Copy, Debug)]
        #visibility struct #server<T> {
            service: T,
        }

        #[allow(dead_code, reason = "a program may use a part of a contract")]
        impl<__Service: #bound> #server<__Service> {
            /// The descriptor of the service: a line of JSON.
            #visibility const DESCRIPTOR: &'static str = #descriptor;

            /// Creates a server of an implementation.
            #visibility const fn new(service: __Service) -> Self {
                Self { service }
            }
        }

        #[cfg(target_arch = "wasm32")]
        impl<__Service: #bound + ::core::default::Default + 'static> #server<__Service> {
            /// Answers the host's calls by the default of the implementation. Call it in `wapc_init`.
            #visibility fn register() {
                #(#registers)*
            }
        }

        impl<__Service: #bound> ::wapc_typed::Serve for #server<__Service> {
            fn operations(&self) -> &'static [&'static str] {
                #constant
            }

            fn serve(
                &self,
                context: &::wapc_typed::CallContext<'_>,
                operation: &str,
                payload: &[u8],
                response: &mut ::std::vec::Vec<u8>,
            ) -> ::core::result::Result<(), ::wapc_typed::ServeError> {
                match operation {
                    #(#arms)*
                    other => ::core::result::Result::Err(::wapc_typed::ServeError::unknown(other)),
                }
            }

            #serve_async
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

/// Returns `true` for the type of a call's context.
fn is_context(path: &syn::TypePath) -> bool {
    let last = path.path.segments.last();
    last.is_some_and(|last| last.ident == "CallContext")
}

fn is_u8(ty: &Type) -> bool {
    matches!(ty, Type::Path(path) if path.path.is_ident("u8"))
}

/// Returns `true` if a type borrows, as far as it says so.
fn borrows(ty: &Type) -> bool {
    let mut after_tick = false;
    tokens(ty).any(|token| {
        let is_lifetime = after_tick;
        after_tick = false;
        match token {
            TokenTree::Punct(sign) if sign.as_char() == '&' => return true,
            TokenTree::Punct(sign) => after_tick = sign.as_char() == '\'',
            TokenTree::Ident(name) => return is_lifetime && name != "static",
            _ => {}
        }
        false
    })
}

/// Whether a type says itself how it is a payload.
fn is_payload(ty: &Type) -> bool {
    let Type::Path(path) = ty else {
        return false;
    };
    let last = path.path.segments.last().map(|last| last.ident.to_string());
    matches!(
        last.as_deref(),
        Some("Raw" | "Json" | "MsgPack" | "Cbor" | "Postcard")
    )
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
            ("trait T { fn f() -> Result<(), String>; }", "takes `&self`"),
            (
                "trait T { fn f(&mut self) -> Result<(), String>; }",
                "takes `&self`",
            ),
            ("trait T { fn f(&self) -> u32; }", "returns a `Result`"),
            ("trait T { fn f(&self); }", "returns a `Result`"),
            (
                "trait T { fn f(&self, a: impl Sized) -> Result<(), String>; }",
                "an argument has one type",
            ),
            (
                "trait T { fn f(&self, a: Option<Box<dyn Any>>) -> Result<(), String>; }",
                "an argument has one type",
            ),
            (
                "trait T { fn f(&self, a: &String) -> Result<(), String>; }",
                "an argument is `&str`, `&[u8]` or owned",
            ),
            (
                "trait T { fn f(&self, a: &mut str) -> Result<(), String>; }",
                "an argument is `&str`, `&[u8]` or owned",
            ),
            (
                "trait T { fn f(&self, a: &'static str) -> Result<(), String>; }",
                "an argument is `&str`, `&[u8]` or owned",
            ),
            (
                "trait T { fn f(&self, a: Option<&str>) -> Result<(), String>; }",
                "an argument is `&str`, `&[u8]` or owned",
            ),
            (
                "trait T { fn f(&self, a: Cow<'_, str>) -> Result<(), String>; }",
                "an argument is `&str`, `&[u8]` or owned",
            ),
            (
                "trait T { async fn f(&self, a: &[u8]) -> Result<(), String>; }",
                "an argument of an async method is owned",
            ),
            (
                "trait T { fn f(&self, a: &CallContext, b: &CallContext) -> Result<(), String>; }",
                "a method has one context",
            ),
            (
                "trait T { fn f(&self, a: CallContext<'_>) -> Result<(), String>; }",
                "take `&CallContext`",
            ),
            (
                "trait T { fn f(&self, a: Option<&CallContext>) -> Result<(), String>; }",
                "take `&CallContext`",
            ),
            (
                "trait T { fn f(&self) -> Result<&str, String>; }",
                "a result is owned",
            ),
            (
                "trait T { fn f(&self) -> Result<String, Cow<'_, str>>; }",
                "a result is owned",
            ),
            (
                "trait T { fn f(&self) -> Result<(), String>;
                    fn f_async(&self) -> Result<(), String>; }",
                "the client has a method `f_async` already",
            ),
            (
                "trait T { fn f_async(&self) -> Result<(), String>;
                    fn f(&self) -> Result<(), String>; }",
                "the client has a method `f_async` already",
            ),
            (
                "trait T { fn check(&self) -> Result<(), String>; }",
                "the client has a method `check` already",
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
        let taken = "trait T { fn f(&self) -> Result<Cow<'static, str>, String>; }";
        let taken = taken.parse().expect("it is Rust");
        assert!(expand(TokenStream::new(), taken).is_ok());
        let setting = "name = 1".parse().expect("it is Rust");
        assert!(expand(setting, quote! { trait T {} }).is_err());
    }

    #[test]
    fn names_of_constants_are_screaming() {
        assert_eq!(screaming("TwoWords"), "TWO_WORDS");
        assert_eq!(screaming("One"), "ONE");
    }
}
