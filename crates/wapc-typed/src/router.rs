//! The host's side: answers guests by binding, namespace and operation.

use std::{fmt, sync::Arc};

use serde::{Serialize, de::DeserializeOwned};
use thiserror::Error;
use wapc_host::{AsyncHostCallback, BoxError, BoxFuture, HostCall, HostCallback, OwnedHostCall};

use crate::{CallContext, Serve, ServeError, routes::Routes, rt};

/// A host callback that hands each call of a guest to a function or a service, by binding, namespace
/// and operation.
///
/// It is a [`HostCallback`] and an [`AsyncHostCallback`], for the builder's `build_with` and
/// `build_async_with`. Functions that are async need the latter.
///
/// ```
/// use wapc_host::{WapcHost, engine::scripted::ScriptedProvider};
/// use wapc_typed::{Function, Router};
///
/// let router = Router::new()
///     .function("bind", "ns", "op", |(a, b): (i32, i32)| Ok(a + b))
///     .raw("log", "", "line", |call, _| {
///         println!("{}", call.payload.escape_ascii());
///         Ok(())
///     });
/// // A guest that calls operation `op` of namespace `ns` and binding `bind`.
/// let guest = ScriptedProvider::new(|guest, op_length, msg_length| {
///     let (_, payload) = guest.request(op_length, msg_length)?;
///     match guest.ask(&payload)? {
///         Ok(sum) => guest.respond(&sum),
///         Err(error) => guest.fail(&error),
///     }
/// });
/// let host = WapcHost::builder(Box::new(guest)).build_with(router)?;
/// let add: Function<(i32, i32), i32> = Function::named("add");
/// assert_eq!(add.call(&host, &(2, 3))?, 5);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// A call that nothing takes fails with a text that names operations with a similar name. The guest
/// gets the text of each error; a panic ends its call, as that of any callback does.
#[derive(Default)]
pub struct Router {
    routes: Routes<Handler>,
    fallback: Option<Handler>,
    before: Vec<Before>,
    after: Vec<After>,
    taken: Option<OperationTaken>,
}

/// Two services or functions of a [`Router`] have the same operation.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("the operation `{binding}/{namespace}/{operation}` was given to a router twice")]
#[non_exhaustive]
pub struct OperationTaken {
    /// The binding.
    pub binding: String,
    /// The namespace.
    pub namespace: String,
    /// The operation.
    pub operation: String,
}

enum Handler {
    Blocking(Arc<Blocking>),
    Awaited(Arc<Awaited>),
}

type Blocking = dyn Fn(&RoutedCall<'_>, &mut Vec<u8>) -> Result<(), BoxError> + Send + Sync;
type Awaited =
    dyn for<'c> Fn(&'c OwnedHostCall) -> BoxFuture<'c, Result<Vec<u8>, BoxError>> + Send + Sync;
type Before = Box<dyn Fn(&RoutedCall<'_>) -> Result<(), BoxError> + Send + Sync>;
type After = Box<dyn Fn(&RoutedCall<'_>, Result<(), &BoxError>) + Send + Sync>;

/// A call of a guest, as a [`Router`]'s functions see it in blocking and in async calls.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct RoutedCall<'c> {
    /// The number of the host.
    pub host_id: u64,
    /// The binding.
    pub binding: &'c str,
    /// The namespace.
    pub namespace: &'c str,
    /// The operation.
    pub operation: &'c str,
    /// The payload.
    pub payload: &'c [u8],
    /// What else is known of the call.
    pub context: CallContext<'c>,
}

impl Router {
    /// Creates a router that takes no call.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the operations of a service, in any namespace of waPC's. Those of its async methods are
    /// awaited in async calls, and fail in blocking ones.
    ///
    /// If the router has one of the operations under this binding, neither answers: see
    /// [`Router::checked`].
    #[must_use]
    pub fn service(self, binding: &str, service: impl Serve + Send + Sync + 'static) -> Self {
        let service = Arc::new(service);
        let awaited = service.async_operations();
        service.operations().iter().fold(self, |router, operation| {
            let service = Arc::clone(&service);
            if awaited.contains(operation) {
                return router.awaited(binding, "", operation, move |call| {
                    let service = Arc::clone(&service);
                    Box::pin(async move {
                        let (context, mut response) = (CallContext::from(call), vec![]);
                        let (operation, payload) = (call.operation(), call.payload());
                        service
                            .serve_async(&context, operation, payload, &mut response)
                            .await?;
                        Ok(response)
                    })
                });
            }
            router.raw(binding, "", operation, move |call, response| {
                Ok(service.serve(&call.context, call.operation, call.payload, response)?)
            })
        })
    }

    /// Takes an operation by a typed function. Its argument and its result are MessagePack; several
    /// arguments are a tuple.
    ///
    /// If the router has the operation under this binding and namespace, neither answers: see
    /// [`Router::checked`].
    #[must_use]
    pub fn function<A: DeserializeOwned, R: Serialize>(
        self,
        binding: &str,
        namespace: &str,
        operation: &str,
        function: impl Fn(A) -> Result<R, BoxError> + Send + Sync + 'static,
    ) -> Self {
        self.raw(binding, namespace, operation, move |call, response| {
            let result = function(rt::decode(call.payload)?)?;
            Ok(rt::encode(&result, response)?)
        })
    }

    /// Takes an operation by a function that appends the answer's bytes.
    ///
    /// If the router has the operation under this binding and namespace, neither answers: see
    /// [`Router::checked`].
    #[must_use]
    pub fn raw(
        self,
        binding: &str,
        namespace: &str,
        operation: &str,
        function: impl Fn(&RoutedCall<'_>, &mut Vec<u8>) -> Result<(), BoxError> + Send + Sync + 'static,
    ) -> Self {
        let handler = Handler::Blocking(Arc::new(function));
        self.route(binding, namespace, operation, handler)
    }

    /// Takes an operation by a typed function that is awaited. In a blocking call it fails.
    ///
    /// If the router has the operation under this binding and namespace, neither answers: see
    /// [`Router::checked`].
    #[must_use]
    pub fn function_async<A, R, F>(
        self,
        binding: &str,
        namespace: &str,
        operation: &str,
        function: impl Fn(A) -> F + Send + Sync + 'static,
    ) -> Self
    where
        A: DeserializeOwned,
        R: Serialize,
        F: Future<Output = Result<R, BoxError>> + Send + 'static,
    {
        self.awaited(
            binding,
            namespace,
            operation,
            move |call| match rt::decode(call.payload()) {
                Ok(argument) => {
                    let result = function(argument);
                    Box::pin(async move {
                        let mut response = vec![];
                        rt::encode(&result.await?, &mut response)?;
                        Ok(response)
                    })
                }
                Err(error) => Box::pin(async { Err(error.into()) }),
            },
        )
    }

    /// Returns the router, if each operation was given once.
    ///
    /// ```
    /// use wapc_typed::Router;
    ///
    /// let router = Router::new()
    ///     .function("math", "", "add", |(a, b): (i32, i32)| Ok(a + b))
    ///     .function("math", "", "add", |(a, b): (i32, i32)| Ok(b + a));
    /// let taken = router.checked().unwrap_err();
    /// assert_eq!(taken.to_string(), "the operation `math//add` was given to a router twice");
    /// ```
    ///
    /// # Errors
    ///
    /// [`OperationTaken`] names the first one that two services or functions have. Without this check its
    /// calls fail with the same text.
    pub fn checked(mut self) -> Result<Self, OperationTaken> {
        match self.taken.take() {
            Some(taken) => Err(taken),
            None => Ok(self),
        }
    }

    /// Takes all calls that nothing else takes.
    #[must_use]
    pub fn fallback(
        mut self,
        function: impl Fn(&RoutedCall<'_>, &mut Vec<u8>) -> Result<(), BoxError> + Send + Sync + 'static,
    ) -> Self {
        self.fallback = Some(Handler::Blocking(Arc::new(function)));
        self
    }

    /// Has a function look at each call first; its error is the answer. For grants.
    #[must_use]
    pub fn before(
        mut self,
        hook: impl Fn(&RoutedCall<'_>) -> Result<(), BoxError> + Send + Sync + 'static,
    ) -> Self {
        self.before.push(Box::new(hook));
        self
    }

    /// Has a function look at each call's outcome. For metrics.
    #[must_use]
    pub fn after(
        mut self,
        hook: impl Fn(&RoutedCall<'_>, Result<(), &BoxError>) + Send + Sync + 'static,
    ) -> Self {
        self.after.push(Box::new(hook));
        self
    }

    fn awaited<F>(self, binding: &str, namespace: &str, operation: &str, handler: F) -> Self
    where
        F: for<'c> Fn(&'c OwnedHostCall) -> BoxFuture<'c, Result<Vec<u8>, BoxError>>
            + Send
            + Sync
            + 'static,
    {
        let handler = Handler::Awaited(Arc::new(handler));
        self.route(binding, namespace, operation, handler)
    }

    fn route(mut self, binding: &str, namespace: &str, operation: &str, handler: Handler) -> Self {
        if let Some(handler) = self.routes.add(binding, namespace, operation, handler) {
            let taken = OperationTaken {
                binding: binding.to_owned(),
                namespace: namespace.to_owned(),
                operation: operation.to_owned(),
            };
            let error = taken.to_string();
            *handler = Handler::Blocking(Arc::new(move |_, _| Err(error.as_str().into())));
            self.taken.get_or_insert(taken);
        }
        self
    }

    #[inline]
    fn find(&self, binding: &str, namespace: &str, operation: &str) -> Option<&Handler> {
        let handler = self.routes.get(binding, namespace, operation);
        handler.or(self.fallback.as_ref())
    }

    #[cold]
    fn unknown(&self, call: &RoutedCall<'_>) -> BoxError {
        let RoutedCall {
            binding,
            namespace,
            operation,
            ..
        } = call;
        let mut text = format!(
            "there is no operation `{operation}` of binding `{binding}`, namespace `{namespace}`"
        );
        let mut near: Vec<_> = self
            .routes
            .iter()
            .map(|route| (distance(&route.operation, operation), route))
            .filter(|(distance, _)| *distance <= 2)
            .map(|(distance, route)| (distance, &route.operation, &route.binding, &route.namespace))
            .collect();
        near.sort_unstable();
        for (number, (_, name, binding, namespace)) in near.iter().take(3).enumerate() {
            text += if number == 0 { "; is it " } else { " or " };
            text += &format!("`{binding}/{namespace}/{name}`");
        }
        if !near.is_empty() {
            text.push('?');
        }
        text.into()
    }

    fn check(&self, call: &RoutedCall<'_>) -> Result<(), BoxError> {
        self.before.iter().try_for_each(|hook| hook(call))
    }

    fn tell(&self, call: &RoutedCall<'_>, outcome: Result<(), &BoxError>) {
        for hook in &self.after {
            hook(call, outcome);
        }
    }
}

/// The number of letters by which two short names differ: the distance of Levenshtein.
fn distance(one: &str, other: &str) -> usize {
    const MAX_BYTES: usize = 64;

    if one.len().max(other.len()) > MAX_BYTES {
        return usize::MAX;
    }
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (number, letter) in one.chars().enumerate() {
        let mut before = number;
        let mut left = number + 1;
        for (above, its) in row.iter_mut().skip(1).zip(&other) {
            let replaced = before + usize::from(letter != *its);
            before = *above;
            left = replaced.min(before + 1).min(left + 1);
            *above = left;
        }
        if let Some(first) = row.first_mut() {
            *first = number + 1;
        }
    }
    row.last().copied().unwrap_or(0)
}

impl HostCallback for Router {
    fn call(&self, call: HostCall<'_>, response: &mut Vec<u8>) -> Result<(), BoxError> {
        // Before the call is copied: its fields have just been written, one by one.
        let handler = self.find(call.binding, call.namespace, call.operation);
        let call = RoutedCall {
            host_id: call.host_id,
            binding: call.binding,
            namespace: call.namespace,
            operation: call.operation,
            payload: call.payload,
            context: CallContext::from(&call),
        };
        let mut answer = || match handler {
            Some(Handler::Blocking(function)) => function(&call, response),
            Some(Handler::Awaited(_)) => Err(ServeError::awaits(call.operation).into()),
            None => Err(self.unknown(&call)),
        };
        let outcome = self.check(&call).and_then(|()| answer());
        self.tell(&call, outcome.as_ref().map(|_| ()));
        outcome
    }
}

/// The router is shared with its futures: give the builder an `Arc` of it.
impl AsyncHostCallback for AsyncRouter {
    fn call(&self, call: OwnedHostCall) -> BoxFuture<'static, Result<Vec<u8>, BoxError>> {
        let router = Arc::clone(&self.0);
        Box::pin(async move {
            let seen = RoutedCall {
                host_id: call.host_id(),
                binding: call.binding(),
                namespace: call.namespace(),
                operation: call.operation(),
                payload: call.payload(),
                context: CallContext::from(&call),
            };
            let handler = router.check(&seen).and_then(|()| {
                let handler = router.find(seen.binding, seen.namespace, seen.operation);
                handler.ok_or_else(|| router.unknown(&seen))
            });
            let outcome = match handler {
                Ok(Handler::Blocking(function)) => {
                    let mut response = vec![];
                    function(&seen, &mut response).map(|()| response)
                }
                Ok(Handler::Awaited(function)) => function(&call).await,
                Err(error) => Err(error),
            };
            router.tell(&seen, outcome.as_ref().map(|_| ()));
            outcome
        })
    }
}

/// A [`Router`] as an [`AsyncHostCallback`]: [`Router::into_async`].
#[derive(Clone, Debug)]
pub struct AsyncRouter(Arc<Router>);

impl Router {
    /// Returns the router as an async callback.
    #[must_use]
    pub fn into_async(self) -> AsyncRouter {
        AsyncRouter(Arc::new(self))
    }
}

impl fmt::Debug for Router {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Router")
            .field("operations", &self.routes.iter().count())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_near_by_two_letters() {
        assert_eq!(distance("hello", "hello"), 0);
        assert_eq!(distance("store", "stone"), 1);
        assert_eq!(distance("store", "tone"), 2);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance(&"a".repeat(65), "a"), usize::MAX);
    }
}
