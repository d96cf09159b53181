//! Functions by name, without a trait.

use std::{fmt, marker::PhantomData};

use serde::{Serialize, de::DeserializeOwned};

use crate::{Call, CallError, rt};

/// A typed function by its name: a value that can be copied and kept. Arguments and result are
/// MessagePack; several arguments are a tuple.
///
/// ```
/// use wapc_host::engine::scripted::ScriptedProvider;
/// use wapc_typed::Function;
///
/// let host = ScriptedProvider::echo().host()?;
/// let same: Function<(u32, String), (u32, String)> = Function::named("echo");
/// assert_eq!(same.call(&host, &(7, "seven".to_owned()))?, (7, "seven".to_owned()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Function<A, R> {
    name: &'static str,
    types: PhantomData<fn(A) -> R>,
}

impl<A: Serialize, R: DeserializeOwned + Send> Function<A, R> {
    /// The function of this name.
    #[must_use]
    pub const fn named(name: &'static str) -> Self {
        let types = PhantomData;
        Self { name, types }
    }

    /// Calls the function.
    ///
    /// # Errors
    ///
    /// [`CallError`] without a service's own errors.
    pub fn call(&self, caller: &(impl Call + ?Sized), arguments: &A) -> Result<R, CallError> {
        rt::call(
            caller,
            self.name,
            |out| rt::encode(arguments, out),
            |response| rt::decode(response),
            |_| None,
        )
    }

    /// Calls the function, and awaits it.
    ///
    /// # Errors
    ///
    /// The same as of [`Function::call`].
    #[cfg(not(target_arch = "wasm32"))]
    pub async fn call_async(
        &self,
        caller: &(impl crate::CallAsync + ?Sized),
        arguments: &A,
    ) -> Result<R, CallError> {
        let mut payload = vec![];
        let payload = rt::encode(arguments, &mut payload).map(|()| payload);
        rt::call_async(caller, self.name, payload, |it| rt::decode(it), |_| None).await
    }
}

impl<A, R> Clone for Function<A, R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<A, R> Copy for Function<A, R> {}

impl<A, R> fmt::Debug for Function<A, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Function").field(&self.name).finish()
    }
}
