//! The plugin whose call a function of the host answers.

use std::{any::Any, fmt, sync::Arc, time::Duration};

use uuid::Uuid;
use wapc_host::{AsyncFunctionCall, BoxError, FunctionCall};

use crate::{
    FromBytes, ToBytes,
    call_state::CallState,
    cancel::CancelHandle,
    environment::{Environment, Environments},
    value::Val,
};

/// The plugin whose call a function answers: its memory of blocks, variables and more.
///
/// A handle is the offset of a block in the memory. Handles are valid until the end of the plugin's call.
pub struct CurrentPlugin<'c> {
    lender: &'c mut dyn Lender,
    of: Of,
    /// The place of the record by which the plugin lends its blocks.
    record: u64,
}

/// Who is called, beside the memory.
#[derive(Clone)]
struct Of {
    environment: Arc<Environment>,
    /// `None` in calls of the host below.
    state: Option<Arc<CallState>>,
}

impl Of {
    fn new(
        environments: &Environments,
        state: Option<Arc<CallState>>,
        host_id: u64,
    ) -> Result<Self, BoxError> {
        let of_call = state.as_ref().map(|state| state.environment.clone());
        let environment = of_call.or_else(|| environments.get(host_id));
        Ok(Self {
            environment: environment.ok_or("the plugin is gone")?,
            state,
        })
    }
}

/// The side of an engine: the memory of blocks.
pub(crate) trait Lender {
    fn memory(&mut self) -> &mut [u8];
    fn memory_base(&mut self) -> *mut u8;
    fn grow(&mut self, pages: u32) -> Option<u32>;
    fn time_left(&self) -> Option<Duration>;
    fn is_cancelled(&self) -> bool;
}

impl Lender for FunctionCall<'_> {
    fn memory(&mut self) -> &mut [u8] {
        self.memory()
    }

    fn memory_base(&mut self) -> *mut u8 {
        self.memory_base()
    }

    fn grow(&mut self, pages: u32) -> Option<u32> {
        self.grow_memory(pages)
    }

    fn time_left(&self) -> Option<Duration> {
        self.time_left()
    }

    fn is_cancelled(&self) -> bool {
        self.is_cancelled()
    }
}

/// The places of the record's fields, which the adapter of plugins has documented.
mod field {
    pub(super) const TOP: u64 = 0;
    pub(super) const USED: u64 = 8;
    pub(super) const MARK: u64 = 16;
    pub(super) const FREED: u64 = 24;
    pub(super) const INPUT: u64 = 32;
    pub(super) const INPUT_BYTES: u64 = 40;
    pub(super) const ERROR: u64 = 48;
    pub(super) const NUMBERS: u64 = 56;
}

/// The bytes of a block before its handle: its length and its mark.
const HEADER: u64 = 16;
/// No block is as large: the memory ends before.
const MAX_BLOCK: u64 = 0xfffe_0000;

impl<'c> CurrentPlugin<'c> {
    pub(crate) fn new(
        call: &'c mut FunctionCall<'_>,
        record: u32,
        environments: &Environments,
    ) -> Result<Self, BoxError> {
        let of = Of::new(environments, call.context(), call.host_id())?;
        Ok(Self {
            lender: call,
            of,
            record: record.into(),
        })
    }

    /// Returns the whole memory of blocks: a handle is an offset in it. It may move when a block is made.
    #[must_use]
    pub fn memory(&mut self) -> &mut [u8] {
        self.lender.memory()
    }

    /// Returns the address of the memory of blocks, for functions in C. It holds until the function returns, on wasmi
    /// until the next block is made.
    #[doc(hidden)]
    #[must_use]
    pub fn memory_base(&mut self) -> *mut u8 {
        self.lender.memory_base()
    }

    /// Makes a block of zeros. Returns its handle; 0 for no bytes, and if the plugin gets no memory.
    pub fn memory_alloc(&mut self, length: u64) -> u64 {
        let top = self.field(field::TOP);
        let handle = self.make_block(length);
        // One that was freed in this call, or that an earlier call has left, has their bytes.
        let is_used = handle <= top || handle <= self.field(field::USED);
        if is_used && let Some(block) = self.memory_bytes_mut(handle) {
            block.fill(0);
        }
        handle
    }

    /// Makes a block of these bytes. Returns its handle, 0 for no bytes.
    ///
    /// # Errors
    ///
    /// Of the conversion, and if the plugin gets no memory.
    pub fn memory_new(&mut self, value: impl ToBytes) -> Result<u64, BoxError> {
        let bytes = value.to_bytes()?;
        if bytes.is_empty() {
            return Ok(0);
        }
        let handle = self.make_block(u64::try_from(bytes.len())?);
        let block = self.memory_bytes_mut(handle).ok_or("oom")?;
        block.copy_from_slice(&bytes);
        Ok(handle)
    }

    /// Frees a block. What is no handle of one is left alone.
    pub fn memory_free(&mut self, handle: u64) {
        if !self.is_live(handle) {
            return;
        }
        // As the kernel does: the length takes the mark's place, and the block freed before the length's.
        let (length, freed) = (self.load(handle - HEADER), self.field(field::FREED));
        self.store(handle - 8, length);
        self.store(handle - HEADER, freed);
        self.set_field(field::FREED, handle);
        if handle == self.field(field::INPUT) {
            self.set_field(field::INPUT_BYTES, 0);
        }
    }

    /// Returns the bytes of a block; `None` for what is no handle of one.
    #[must_use]
    pub fn memory_bytes(&mut self, handle: u64) -> Option<&[u8]> {
        self.memory_bytes_mut(handle).map(|block| &*block)
    }

    /// Returns the bytes of a block, to be changed; `None` for what is no handle of one.
    #[must_use]
    pub fn memory_bytes_mut(&mut self, handle: u64) -> Option<&mut [u8]> {
        let length = self.memory_length(handle);
        let range = usize::try_from(handle).ok()?..usize::try_from(handle + length).ok()?;
        self.memory().get_mut(range).filter(|_| length > 0)
    }

    /// Returns the text of a block; `None` for what is no handle of one.
    ///
    /// # Errors
    ///
    /// If the bytes are not UTF-8.
    pub fn memory_str(&mut self, handle: u64) -> Result<Option<&str>, BoxError> {
        let block = self.memory_bytes(handle);
        Ok(block.map(std::str::from_utf8).transpose()?)
    }

    /// Returns the length of a block; 0 for what is no handle of one.
    #[must_use]
    pub fn memory_length(&mut self, handle: u64) -> u64 {
        if !self.is_live(handle) {
            return 0;
        }
        // A plugin can write over the header, to its own harm.
        let length = self.load(handle - HEADER);
        length.min(self.memory_size().saturating_sub(handle))
    }

    /// Returns what a block has. Handle 0 is an empty block.
    ///
    /// # Errors
    ///
    /// For what is no handle of a block, and of the conversion.
    pub fn memory_get<T: FromBytes>(&mut self, handle: u64) -> Result<T, BoxError> {
        match self.memory_bytes(handle) {
            Some(block) => T::from_bytes(block),
            None if handle == 0 => T::from_bytes(&[]),
            None => Err(format!("no block has the handle {handle}").into()),
        }
    }

    /// Returns what the block of an argument has.
    ///
    /// # Errors
    ///
    /// If the value is no handle; of the conversion.
    pub fn memory_get_val<T: FromBytes>(&mut self, value: &Val) -> Result<T, BoxError> {
        match value {
            Val::I64(handle) => self.memory_get(handle.cast_unsigned()),
            _ => Err("the value is no handle".into()),
        }
    }

    /// Sets a result to a new block of these bytes.
    ///
    /// # Errors
    ///
    /// As of [`CurrentPlugin::memory_new`].
    pub fn memory_set_val(
        &mut self,
        result: &mut Val,
        value: impl ToBytes,
    ) -> Result<(), BoxError> {
        *result = self.memory_to_val(value)?;
        Ok(())
    }

    /// Returns a new block of these bytes as a result.
    ///
    /// # Errors
    ///
    /// As of [`CurrentPlugin::memory_new`].
    pub fn memory_to_val(&mut self, value: impl ToBytes) -> Result<Val, BoxError> {
        Ok(Val::I64(self.memory_new(value)?.cast_signed()))
    }

    /// Returns the handle of an argument, if it is one of a block.
    #[must_use]
    pub fn memory_from_val(&mut self, value: &Val) -> Option<u64> {
        match value {
            Val::I64(handle) => Some(handle.cast_unsigned()).filter(|handle| self.is_live(*handle)),
            _ => None,
        }
    }

    /// Sets the error of the call, with which it ends unless the plugin sets another, whatever this function
    /// returns.
    ///
    /// # Errors
    ///
    /// If the plugin gets no memory.
    pub fn set_error(&mut self, text: impl AsRef<str>) -> Result<(), BoxError> {
        // An error is a block, and a block has bytes.
        let text = match text.as_ref() {
            "" => " ",
            text => text,
        };
        let handle = self.memory_new(text)?;
        self.set_field(field::ERROR, handle);
        Ok(())
    }

    /// Withdraws the error of the call.
    pub fn clear_error(&mut self) {
        self.set_field(field::ERROR, 0);
    }

    /// Returns the error of the call, if one is set.
    #[must_use]
    pub fn error(&mut self) -> Option<String> {
        let handle = self.field(field::ERROR);
        let text = self.memory_bytes(handle)?;
        Some(String::from_utf8_lossy(text).into_owned())
    }

    /// Returns the context of [`Plugin::call_with_host_context`](crate::Plugin::call_with_host_context). `None` without
    /// one, and for one of another type.
    #[must_use]
    pub fn host_context<T: Any + Send + Sync>(&self) -> Option<Arc<T>> {
        self.of.host_context()
    }

    /// Returns the time that is left of the call; `None` if it has no limit.
    #[must_use]
    pub fn time_remaining(&self) -> Option<Duration> {
        self.lender.time_left()
    }

    /// Returns `true` if the call has been cancelled. It ends when the function returns.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.lender.is_cancelled()
    }

    /// Writes the numbers of a function to the record.
    pub(crate) fn set_numbers(&mut self, numbers: impl Iterator<Item = u64>) {
        for (index, number) in (0..).zip(numbers) {
            self.set_field(field::NUMBERS + 8 * index, number);
        }
    }

    /// Returns a number of the function from the record.
    pub(crate) fn number(&mut self, index: u64) -> u64 {
        self.field(field::NUMBERS + 8 * index)
    }

    fn field(&mut self, field: u64) -> u64 {
        self.load(self.record + field)
    }

    fn set_field(&mut self, field: u64, value: u64) {
        self.store(self.record + field, value);
    }

    /// A place outside of the memory reads as 0, and is not written.
    fn load(&mut self, at: u64) -> u64 {
        let word = self.word(at);
        word.map_or(0, |word| u64::from_le_bytes(*word))
    }

    fn store(&mut self, at: u64, value: u64) {
        if let Some(word) = self.word(at) {
            *word = value.to_le_bytes();
        }
    }

    fn word(&mut self, at: u64) -> Option<&mut [u8; 8]> {
        let at = usize::try_from(at).ok()?;
        self.memory().get_mut(at..)?.first_chunk_mut()
    }

    fn memory_size(&mut self) -> u64 {
        u64::try_from(self.memory().len()).unwrap_or(u64::MAX)
    }

    fn is_live(&mut self, handle: u64) -> bool {
        handle > HEADER
            && handle < self.field(field::TOP)
            && self.load(handle - 8) == self.field(field::MARK) ^ handle
    }

    /// Makes a block, whose bytes are what was there before, as the kernel does (`$new`). Returns 0 if it cannot.
    fn make_block(&mut self, length: u64) -> u64 {
        if length == 0 || length > MAX_BLOCK {
            return 0;
        }
        let handle = self.field(field::TOP).saturating_add(HEADER);
        let Some(end) = handle.saturating_add(length).checked_next_multiple_of(16) else {
            return 0;
        };
        let bytes = self.memory_size();
        if end > bytes {
            // Freed blocks come again only where the memory would have to grow.
            let freed = self.field(field::FREED);
            if self.is_reusable(freed, length) {
                let before = self.load(freed - HEADER);
                self.set_field(field::FREED, before);
                self.begin_block(freed, length);
                return freed;
            }
            let pages = u32::try_from((end - bytes).div_ceil(1 << 16)).unwrap_or(u32::MAX);
            if self.lender.grow(pages).is_none() || end > self.memory_size() {
                return 0;
            }
        }
        self.set_field(field::TOP, end);
        self.begin_block(handle, length);
        handle
    }

    fn begin_block(&mut self, handle: u64, length: u64) {
        let mark = self.field(field::MARK) ^ handle;
        self.store(handle - HEADER, length);
        self.store(handle - 8, mark);
    }

    fn is_reusable(&mut self, freed: u64, length: u64) -> bool {
        let top = self.field(field::TOP);
        if freed <= HEADER || freed >= top {
            return false;
        }
        let room = self.load(freed - 8);
        length <= room && room <= top - freed
    }
}

impl Of {
    fn host_context<T: Any + Send + Sync>(&self) -> Option<Arc<T>> {
        self.state.as_ref()?.host_context()?.downcast().ok()
    }
}

/// The methods that need no memory.
macro_rules! of_plugin {
    ($name:ident $(<$lifetime:lifetime>)?) => {
        impl $name $(<$lifetime>)? {
            /// Returns the plugin's id ([`Plugin::id`](crate::Plugin::id)).
            #[must_use]
            pub fn id(&self) -> Uuid {
                self.of.environment.id
            }

            /// Returns a variable of the plugin.
            #[must_use]
            pub fn var(&self, key: &str) -> Option<Vec<u8>> {
                self.of.environment.vars().get(key).map(<[u8]>::to_vec)
            }

            /// Sets a variable of the plugin.
            ///
            /// # Errors
            ///
            /// If it exceeds the manifest's limit.
            pub fn set_var(&self, key: &str, value: impl ToBytes) -> Result<(), BoxError> {
                Ok(self.of.environment.vars().set(key, &value.to_bytes()?)?)
            }

            /// Removes a variable of the plugin.
            pub fn remove_var(&self, key: &str) {
                self.of.environment.vars().remove(key);
            }

            /// Returns a key of the configuration.
            #[must_use]
            pub fn config(&self, key: &str) -> Option<String> {
                self.of.environment.config(key)
            }

            /// Returns the plugin's handle for cancelling, if it has given one before the call
            /// ([`Plugin::cancel_handle`](crate::Plugin::cancel_handle)).
            #[must_use]
            pub fn cancel_handle(&self) -> Option<CancelHandle> {
                self.of.environment.cancel.get().cloned()
            }
        }

        impl fmt::Debug for $name $(<$lifetime>)? {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name)).field("id", &self.id()).finish_non_exhaustive()
            }
        }
    };
}

of_plugin!(CurrentPlugin<'_>);
of_plugin!(AsyncCurrentPlugin);

/// The plugin whose call an async function answers: suspended, so that its memory is accessed where its call is
/// polled.
///
/// Clones may go to other tasks. When the function has ended, an access fails.
#[derive(Clone)]
pub struct AsyncCurrentPlugin {
    call: AsyncFunctionCall,
    of: Of,
    record: u64,
}

impl AsyncCurrentPlugin {
    pub(crate) fn new(
        call: AsyncFunctionCall,
        record: u32,
        environments: &Environments,
    ) -> Result<Self, BoxError> {
        let of = Of::new(environments, call.context(), call.host_id())?;
        Ok(Self {
            call,
            of,
            record: record.into(),
        })
    }

    /// Runs `access` with the plugin as a blocking function has it. It must not wait.
    ///
    /// # Errors
    ///
    /// If the function has ended.
    pub async fn with<T: Send + 'static>(
        &self,
        access: impl FnOnce(&mut CurrentPlugin<'_>) -> T + Send + 'static,
    ) -> Result<T, BoxError> {
        let (of, record) = (self.of.clone(), self.record);
        let accessed = self
            .call
            .with(move |lender| access(&mut CurrentPlugin { lender, of, record }));
        Ok(accessed.await?)
    }

    /// Returns what a block has; as [`CurrentPlugin::memory_get`].
    ///
    /// # Errors
    ///
    /// For what is no handle of a block, and of the conversion.
    pub async fn memory_get<T: FromBytes>(&self, handle: u64) -> Result<T, BoxError> {
        let block: Vec<u8> = self.with(move |plugin| plugin.memory_get(handle)).await??;
        T::from_bytes(&block)
    }

    /// Returns what the block of an argument has.
    ///
    /// # Errors
    ///
    /// If the value is no handle; of the conversion.
    pub async fn memory_get_val<T: FromBytes>(&self, value: &Val) -> Result<T, BoxError> {
        let value = *value;
        let block: Vec<u8> = self
            .with(move |plugin| plugin.memory_get_val(&value))
            .await??;
        T::from_bytes(&block)
    }

    /// Makes a block of these bytes. Returns its handle, 0 for no bytes.
    ///
    /// # Errors
    ///
    /// Of the conversion, and if the plugin gets no memory.
    pub async fn memory_new(&self, value: impl ToBytes) -> Result<u64, BoxError> {
        let bytes = value.to_bytes()?.into_owned();
        self.with(move |plugin| plugin.memory_new(bytes)).await?
    }

    /// Returns a new block of these bytes as a result.
    ///
    /// # Errors
    ///
    /// As of [`AsyncCurrentPlugin::memory_new`].
    pub async fn memory_to_val(&self, value: impl ToBytes) -> Result<Val, BoxError> {
        Ok(Val::I64(self.memory_new(value).await?.cast_signed()))
    }

    /// Returns the context of the call, if it has one of this type.
    #[must_use]
    pub fn host_context<T: Any + Send + Sync>(&self) -> Option<Arc<T>> {
        self.of.host_context()
    }

    /// Returns the time that is left of the call; `None` if it has no limit.
    #[must_use]
    pub fn time_remaining(&self) -> Option<Duration> {
        self.call.time_left()
    }
}
