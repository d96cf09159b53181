//! Functions of the host that plugins call.

use std::{
    fmt,
    sync::{Arc, Mutex},
};

use wapc_dialects::HostFunction;
use wapc_host::{AsyncFunctionCall, BoxError, BoxFuture, HostFunctions};

use crate::{
    current_plugin::{AsyncCurrentPlugin, CurrentPlugin},
    environment::Environments,
    value::{Val, ValType},
};

/// The namespace of functions that name none.
pub const EXTISM_USER_MODULE: &str = "extism:host/user";

/// Data that a function shares with the program.
#[derive(Debug, Default)]
pub struct UserData<T>(Arc<Mutex<T>>);

impl<T> UserData<T> {
    /// Makes it of a value.
    pub fn new(value: T) -> Self {
        Self(Arc::new(Mutex::new(value)))
    }

    /// Returns the value, to be locked.
    #[must_use]
    pub fn get(&self) -> Arc<Mutex<T>> {
        self.0.clone()
    }
}

impl<T> Clone for UserData<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

type Blocking =
    dyn Fn(&mut CurrentPlugin<'_>, &[Val], &mut [Val]) -> Result<(), BoxError> + Send + Sync;
type Awaited = BoxFuture<'static, Result<Vec<Val>, BoxError>>;
type Async = dyn Fn(AsyncCurrentPlugin, Vec<Val>) -> Awaited + Send + Sync;

#[derive(Clone)]
enum Body {
    Blocking(Arc<Blocking>),
    Async(Arc<Async>),
}

/// A function of the host that plugins call.
///
/// It runs on the thread of the call. An error that it returns ends the call with its text; a panic reaches the
/// caller of the plugin.
#[derive(Clone)]
pub struct Function {
    pub(crate) name: String,
    pub(crate) namespace: String,
    params: Vec<ValType>,
    results: Vec<ValType>,
    body: Body,
}

impl Function {
    /// Makes a function in the namespace [`EXTISM_USER_MODULE`].
    ///
    /// `body` gets the arguments, and the results as zeros of their types, to be set.
    pub fn new<T: Send + 'static>(
        name: impl Into<String>,
        params: impl IntoIterator<Item = ValType>,
        results: impl IntoIterator<Item = ValType>,
        user_data: UserData<T>,
        body: impl Fn(&mut CurrentPlugin<'_>, &[Val], &mut [Val], UserData<T>) -> Result<(), BoxError>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        let body = move |plugin: &mut CurrentPlugin<'_>, arguments: &[Val], results: &mut [Val]| {
            body(plugin, arguments, results, user_data.clone())
        };
        Self::with_body(name, params, results, Body::Blocking(Arc::new(body)))
    }

    /// Makes a function that returns a future, in the namespace [`EXTISM_USER_MODULE`]. The plugin is suspended until
    /// the future has ended, with the results.
    ///
    /// It needs [`Plugin::call_async`](crate::Plugin::call_async): a blocking call that gets to it fails.
    ///
    /// ```
    /// use wapc_extism::{Function, PTR, UserData};
    ///
    /// async fn look_up(name: String) -> Result<String, std::io::Error> {
    ///     Ok(name.to_uppercase()) // or else asks a database
    /// }
    ///
    /// let function = Function::new_async(
    ///     "look_up",
    ///     [PTR],
    ///     [PTR],
    ///     UserData::new(()),
    ///     |plugin, arguments, _| async move {
    ///         let name = plugin.memory_get_val(&arguments[0]).await?;
    ///         let value = look_up(name).await?;
    ///         Ok(vec![plugin.memory_to_val(value).await?])
    ///     },
    /// );
    /// # _ = function;
    /// ```
    pub fn new_async<T: Send + 'static, F>(
        name: impl Into<String>,
        params: impl IntoIterator<Item = ValType>,
        results: impl IntoIterator<Item = ValType>,
        user_data: UserData<T>,
        body: impl Fn(AsyncCurrentPlugin, Vec<Val>, UserData<T>) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Result<Vec<Val>, BoxError>> + Send + 'static,
    {
        let body = move |plugin: AsyncCurrentPlugin, arguments: Vec<Val>| -> Awaited {
            Box::pin(body(plugin, arguments, user_data.clone()))
        };
        Self::with_body(name, params, results, Body::Async(Arc::new(body)))
    }

    fn with_body(
        name: impl Into<String>,
        params: impl IntoIterator<Item = ValType>,
        results: impl IntoIterator<Item = ValType>,
        body: Body,
    ) -> Self {
        Self {
            name: name.into(),
            namespace: EXTISM_USER_MODULE.to_owned(),
            params: params.into_iter().collect(),
            results: results.into_iter().collect(),
            body,
        }
    }

    /// Sets the namespace, which is the module that plugins import it from.
    #[must_use]
    pub fn with_namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = namespace.into();
        self
    }

    /// Returns the name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the namespace.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    pub(crate) fn is_imported_as(&self, import: &HostFunction) -> bool {
        let same = |own: &[ValType], imported: &[&str]| {
            own.iter()
                .map(|own| own.name())
                .eq(imported.iter().copied())
        };
        same(&self.params, &import.params) && same(&self.results, &import.results)
    }

    /// Adds it to functions of a guest.
    pub(crate) fn add_to(
        &self,
        functions: HostFunctions,
        environments: Arc<Environments>,
    ) -> HostFunctions {
        let (module, name, function) = (&self.namespace, &self.name, self.clone());
        match self.body.clone() {
            Body::Blocking(body) => functions.function(module, name, move |call, record: u32| {
                let mut plugin = CurrentPlugin::new(call, record, &environments)?;
                let arguments = function.arguments(&mut plugin);
                let mut results: Vec<Val> = function.results.iter().map(|ty| ty.val(0)).collect();
                let ended = body(&mut plugin, &arguments, &mut results);
                function.finish(&mut plugin, ended.map(|()| results))
            }),
            Body::Async(body) => functions.async_function(
                module,
                name,
                move |call: AsyncFunctionCall, record: u32| {
                    let plugin = AsyncCurrentPlugin::new(call, record, &environments);
                    let (function, body) = (function.clone(), body.clone());
                    async move {
                        let plugin = plugin?;
                        let of = function.clone();
                        let arguments = plugin.with(move |plugin| of.arguments(plugin)).await?;
                        let ended = body(plugin.clone(), arguments).await;
                        plugin
                            .with(move |plugin| function.finish(plugin, ended))
                            .await?
                    }
                },
            ),
        }
    }

    fn arguments(&self, plugin: &mut CurrentPlugin<'_>) -> Vec<Val> {
        let params = (0..).zip(&self.params);
        params
            .map(|(index, ty)| ty.val(plugin.number(index)))
            .collect()
    }

    /// Passes the results to the plugin. The error that the function has set is that of a failure.
    fn finish(
        &self,
        plugin: &mut CurrentPlugin<'_>,
        ended: Result<Vec<Val>, BoxError>,
    ) -> Result<(), BoxError> {
        let results = match (ended, plugin.error()) {
            (Ok(results), _) => results,
            (Err(_), Some(text)) => return Err(text.into()),
            (Err(error), None) => return Err(error),
        };
        if !results
            .iter()
            .map(|result| result.ty())
            .eq(self.results.iter().copied())
        {
            return Err(format!(
                "the function `{}` has returned other results than its type has",
                self.name
            )
            .into());
        }
        plugin.set_numbers(results.iter().map(|result| result.bits()));
        Ok(())
    }
}

impl fmt::Debug for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Function")
            .field("name", &self.name)
            .field("namespace", &self.namespace)
            .field("params", &self.params)
            .field("results", &self.results)
            .finish_non_exhaustive()
    }
}
