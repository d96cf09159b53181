//! Functions of the host that plugins call.

use std::{
    any::Any,
    fmt,
    sync::{Arc, Mutex},
    time::Duration,
};

use wapc_dialects::HostFunction;
use wapc_host::{BoxError, HostCall};

use crate::{
    FromBytes, ToBytes,
    call_state::{CallState, lock},
    vars::Vars,
};

/// The namespace of functions that name none.
pub const EXTISM_USER_MODULE: &str = "extism:host/user";

/// The type of a number between a plugin and its host.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(clippy::exhaustive_enums, reason = "WebAssembly has no other numbers")]
pub enum ValType {
    /// 32 bits.
    I32,
    /// 64 bits; a handle is one.
    I64,
    /// 32 bits, a fraction.
    F32,
    /// 64 bits, a fraction.
    F64,
}

/// The type of a handle.
pub const PTR: ValType = ValType::I64;

/// A number between a plugin and its host.
#[derive(Clone, Copy, Debug, PartialEq)]
#[expect(clippy::exhaustive_enums, reason = "WebAssembly has no other numbers")]
pub enum Val {
    /// Of [`ValType::I32`].
    I32(i32),
    /// Of [`ValType::I64`].
    I64(i64),
    /// Of [`ValType::F32`], by its bits.
    F32(u32),
    /// Of [`ValType::F64`], by its bits.
    F64(u64),
}

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

type Body =
    dyn Fn(&mut CurrentPlugin<'_>, &[Val], &mut [Val]) -> Result<(), BoxError> + Send + Sync;

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
    body: Arc<Body>,
}

impl Function {
    /// Makes a function in the namespace [`EXTISM_USER_MODULE`]. It has at most one result.
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
        Self {
            name: name.into(),
            namespace: EXTISM_USER_MODULE.to_owned(),
            params: params.into_iter().collect(),
            results: results.into_iter().collect(),
            body: Arc::new(move |plugin, arguments, results| {
                body(plugin, arguments, results, user_data.clone())
            }),
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

    /// Answers a host call: what it brings and takes is in the documentation of the adapter.
    pub(crate) fn answer(
        &self,
        vars: &Mutex<Vars>,
        call: &HostCall<'_>,
        response: &mut Vec<u8>,
    ) -> Result<(), BoxError> {
        let mut numbers = Numbers(call.payload);
        let (next, mark) = (numbers.next()?, numbers.next()?);
        let mut arguments = Vec::with_capacity(self.params.len());
        for ty in &self.params {
            arguments.push(ty.val(numbers.next()?));
        }
        let mut blocks = Vec::new();
        for argument in &arguments {
            if let Val::I64(handle) = argument {
                let length = usize::try_from(numbers.next()?)?;
                let (block, rest) = numbers.0.split_at_checked(length).ok_or(TOO_SHORT)?;
                numbers.0 = rest;
                if length > 0 {
                    blocks.push((handle.cast_unsigned(), block));
                }
            }
        }
        let mut results: Vec<Val> = self.results.iter().map(|ty| ty.val(0)).collect();
        response.resize(16, 0);
        let mut plugin = CurrentPlugin {
            vars,
            call,
            next,
            mark,
            blocks,
            image: response,
        };
        (self.body)(&mut plugin, &arguments, &mut results)?;
        if let (Some(result), Some(place)) = (results.first(), response.first_chunk_mut::<8>()) {
            *place = result.bits().to_le_bytes();
        }
        Ok(())
    }
}

const TOO_SHORT: &str = "the payload of a host function is too short";

struct Numbers<'p>(&'p [u8]);

impl Numbers<'_> {
    fn next(&mut self) -> Result<u64, BoxError> {
        let (number, rest) = self.0.split_first_chunk().ok_or(TOO_SHORT)?;
        self.0 = rest;
        Ok(u64::from_le_bytes(*number))
    }
}

impl ValType {
    const fn name(self) -> &'static str {
        match self {
            Self::I32 => "i32",
            Self::I64 => "i64",
            Self::F32 => "f32",
            Self::F64 => "f64",
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "the upper half is 0")]
    const fn val(self, bits: u64) -> Val {
        match self {
            Self::I32 => Val::I32((bits as u32).cast_signed()),
            Self::I64 => Val::I64(bits.cast_signed()),
            Self::F32 => Val::F32(bits as u32),
            Self::F64 => Val::F64(bits),
        }
    }
}

impl Val {
    const fn bits(self) -> u64 {
        match self {
            Self::I32(value) => value.cast_unsigned() as u64,
            Self::I64(value) => value.cast_unsigned(),
            Self::F32(bits) => bits as u64,
            Self::F64(bits) => bits,
        }
    }
}

/// The plugin whose call a function answers: its blocks, variables and more.
///
/// A function sees the blocks that its arguments name, and those that it makes. What it makes is the plugin's
/// when it returns.
pub struct CurrentPlugin<'c> {
    vars: &'c Mutex<Vars>,
    call: &'c HostCall<'c>,
    /// The place of the answer in the plugin's memory, and the mark of a block at 0.
    next: u64,
    mark: u64,
    blocks: Vec<(u64, &'c [u8])>,
    /// The bytes from `next` on.
    image: &'c mut Vec<u8>,
}

impl CurrentPlugin<'_> {
    /// Makes a block of these bytes. Returns its handle, 0 for no bytes.
    ///
    /// # Errors
    ///
    /// Of the conversion.
    pub fn memory_new(&mut self, value: impl ToBytes) -> Result<u64, BoxError> {
        let bytes = value.to_bytes()?;
        if bytes.is_empty() {
            return Ok(0);
        }
        let padding = self.image.len().next_multiple_of(16);
        self.image.resize(padding, 0);
        let offset = u64::try_from(self.image.len())?.saturating_add(16);
        let handle = self.next.saturating_add(offset);
        self.image.extend(u64::try_from(bytes.len())?.to_le_bytes());
        self.image.extend((self.mark ^ handle).to_le_bytes());
        self.image.extend_from_slice(&bytes);
        Ok(handle)
    }

    /// Returns the bytes of a block: of one that an argument names, or of one that this function has made. `None` for
    /// any other.
    #[must_use]
    pub fn memory_bytes(&self, handle: u64) -> Option<&[u8]> {
        if let Some((_, block)) = self.blocks.iter().find(|(place, _)| *place == handle) {
            return Some(block);
        }
        let at = usize::try_from(handle.checked_sub(self.next)?).ok()?;
        let (length, rest) = self.image.get(at.checked_sub(16)?..)?.split_first_chunk()?;
        let (mark, rest) = rest.split_first_chunk()?;
        let is_block = u64::from_le_bytes(*mark) == self.mark ^ handle;
        rest.get(..usize::try_from(u64::from_le_bytes(*length)).ok()?)
            .filter(|_| is_block)
    }

    /// Returns the length of a block; 0 for what is none.
    #[must_use]
    pub fn memory_length(&self, handle: u64) -> u64 {
        let block = self.memory_bytes(handle).unwrap_or_default();
        u64::try_from(block.len()).unwrap_or_default()
    }

    /// Returns what a block has. Handle 0 is an empty block.
    ///
    /// # Errors
    ///
    /// For a handle of no block that this function can see, and of the conversion.
    pub fn memory_get<T: FromBytes>(&self, handle: u64) -> Result<T, BoxError> {
        match self.memory_bytes(handle) {
            Some(block) => T::from_bytes(block),
            None if handle == 0 => T::from_bytes(&[]),
            None => {
                Err(format!("no block that this function can see has the handle {handle}").into())
            }
        }
    }

    /// Returns what the block of an argument has.
    ///
    /// # Errors
    ///
    /// If the value is no handle; of the conversion.
    pub fn memory_get_val<T: FromBytes>(&self, value: &Val) -> Result<T, BoxError> {
        match value {
            Val::I64(handle) => self.memory_get(handle.cast_unsigned()),
            _ => Err("the value is no handle".into()),
        }
    }

    /// Sets a result to a new block of these bytes.
    ///
    /// # Errors
    ///
    /// Of the conversion.
    pub fn memory_set_val(
        &mut self,
        result: &mut Val,
        value: impl ToBytes,
    ) -> Result<(), BoxError> {
        *result = Val::I64(self.memory_new(value)?.cast_signed());
        Ok(())
    }

    /// Returns the context of [`Plugin::call_with_host_context`](crate::Plugin::call_with_host_context). `None` without
    /// one, and for one of another type.
    #[must_use]
    pub fn host_context<T: Any + Send + Sync>(&self) -> Option<Arc<T>> {
        let state: &CallState = self.call.context()?;
        state.host_context()?.downcast().ok()
    }

    /// Returns a variable of the plugin.
    #[must_use]
    pub fn var(&self, key: &str) -> Option<Vec<u8>> {
        lock(self.vars).get(key).map(<[u8]>::to_vec)
    }

    /// Sets a variable of the plugin.
    ///
    /// # Errors
    ///
    /// If it exceeds the manifest's limit.
    pub fn set_var(&self, key: &str, value: impl ToBytes) -> Result<(), BoxError> {
        Ok(lock(self.vars).set(key, &value.to_bytes()?)?)
    }

    /// Returns the time that is left of the call; `None` if it has no limit.
    #[must_use]
    pub fn time_remaining(&self) -> Option<Duration> {
        self.call.time_left()
    }
}

impl fmt::Debug for CurrentPlugin<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CurrentPlugin").finish_non_exhaustive()
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
