//! The macros of [`wapc-typed`](https://docs.rs/wapc-typed), which re-exports them.

#![forbid(unsafe_code)]

mod describe;
mod descriptor;
mod service;

use proc_macro::TokenStream;

/// Makes a client and a server of a trait, which is the contract of both sides.
///
/// For a trait `Greeter`:
///
/// - `GreeterClient::over(caller)`, where the caller is anything that can be called (a host, a host
///   with options, a guest's host), has the trait's methods. Their error is a `CallError` of the
///   method's. In a host each has an async twin, `hello_async`.
///   The client is also the trait itself, so that a function over `&impl Greeter` takes a client, an
///   implementation or a mock, if each method's error `E` is `From<CallError<E>>`, as `String` is.
/// - `GreeterServer::new(implementation)` answers calls by an implementation of the trait. In a guest
///   `GreeterServer::<Implementation>::register()` does so, if that has a default.
/// - `GREETER_OPERATIONS` has the names of the operations.
/// - `GreeterClient::check(module)` tells whether a guest has each operation, by the descriptor that
///   `export!` has written into it, and `GreeterClient::probe(module)` does so in a swap.
///
/// Operations are named `namespace.Trait/method`, or as `#[wapc(op = "…")]` on a method says.
/// Arguments are a map by their names; with `#[wapc(unary)]` the only argument is the payload
/// itself. All is MessagePack, or as `codec = TYPE` on the trait says, but for a unary argument or a result of the types `Raw`, `Json` and
/// `MsgPack`, which say how they are encoded. An error of type `String` is sent as it is; another one must be
/// serialisable, and is sent as JSON.
///
/// Methods take `&self` and arguments that are owned, `&str` or `&[u8]`; the server lends the latter two from
/// the payload. At most one parameter is a `&CallContext`, which is not sent: it tells of the call that is
/// answered. Methods return a `Result` that borrows nothing, and are not generic.
///
/// A host may serve `async fn`s, whose arguments are owned. The macro writes them as
/// `-> impl Future<Output = Result<…>> + Send`; an implementation may be an `async fn`, and is `Sync`. The
/// client has the same methods of its own for them as for others: `hello` blocks, `hello_async` is
/// awaited. A guest cannot wait: it polls such a method once, and one that is not ready then is an
/// error.
#[proc_macro_attribute]
pub fn service(attribute: TokenStream, item: TokenStream) -> TokenStream {
    service::expand(attribute.into(), item.into())
        .unwrap_or_else(|error| error.to_compile_error())
        .into()
}

/// Describes the form of a type on the wire, for the descriptor of a service. `wapc_typed::Describe`
/// says which attributes of serde it reads.
#[proc_macro_derive(Describe)]
pub fn describe(item: TokenStream) -> TokenStream {
    describe::expand(item.into())
        .unwrap_or_else(|error| error.to_compile_error())
        .into()
}
