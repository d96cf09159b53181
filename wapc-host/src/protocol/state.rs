//! The conversation between host and guest: the rules of waPC, written once.

use std::{
    any::Any,
    fmt,
    num::NonZeroU64,
    panic::{AssertUnwindSafe, catch_unwind},
    str::{Utf8Error, from_utf8},
    sync::Arc,
};

use parking_lot::Mutex;

use crate::{
    error::{ProtocolError, Spent, Stop},
    limits::call::CallOptions,
    limits::guest::{Growth, LimitError, Limits},
    protocol::budget::{Budget, Watch},
    protocol::callback::{Callback, HostCallback},
    protocol::host_call::{HostCall, OwnedHostCall},
    protocol::lent::Lent,
    protocol::names::{Name, Names},
    protocol::pending::{Answer, AnswerKind, Asked, HostAnswer, WaitForAnswer, WaitLimits},
    protocol::reentrancy::Within,
    protocol::traces::Traces,
};

/// One guest's side of the conversation: what it was asked, what it answered,
/// and what the host answered to it.
///
/// It lives with the guest's instance, in the engine's store. It has one
/// method for each function that the host exports to guests in the module
/// `wapc`; each takes the guest's memory as a slice, and the guest's numbers
/// as they come. All bounds, UTF-8, protocol order and limits are checked
/// here.
///
/// Pointers and lengths are unsigned 32-bit numbers that travel as `i32`. A
/// length of 0 touches no memory, whatever the pointer: some guests pass
/// `0xffffffff` for an empty buffer.
pub struct ModuleState {
    host_id: u64,
    generation: u64,
    place: usize,
    callback: Callback,
    limits: Arc<Limits>,
    budget: Budget,
    growth: Growth,
    lent: Lent,
    responded: bool,
    traces: Traces,
    names: Names,
    panic: Arc<PanicSlot>,
    waiter: Option<Arc<dyn WaitForAnswer>>,
}

impl ModuleState {
    /// The state of a guest of the host `host_id`, whose calls `callback`
    /// answers, without limits.
    #[must_use]
    pub fn new(host_id: u64, callback: Arc<dyn HostCallback>) -> Self {
        let callback = Callback::Blocking(callback);
        let limits = Arc::new(Limits::unlimited());
        Self::of_generation(0, host_id, 0, callback, limits, None)
    }

    /// The state of a guest of the code `generation` at the place `place` in
    /// its host, whose start functions are about to run, for a call with
    /// `options` if one waits for it.
    pub(crate) fn of_generation(
        generation: u64,
        host_id: u64,
        place: usize,
        callback: Callback,
        limits: Arc<Limits>,
        options: Option<&CallOptions>,
    ) -> Self {
        Self {
            host_id,
            generation,
            place,
            callback,
            budget: Budget::of_start(&limits, options),
            limits,
            growth: Growth::default(),
            lent: Lent::default(),
            responded: false,
            traces: Traces::default(),
            names: Names::default(),
            panic: Arc::default(),
            waiter: None,
        }
    }

    /// The id of the [`WapcHost`](crate::WapcHost) that the guest belongs to.
    #[must_use]
    pub const fn host_id(&self) -> u64 {
        self.host_id
    }

    /// The number of the guest's code.
    pub(crate) const fn generation(&self) -> u64 {
        self.generation
    }

    /// A number that differs between instances that are likely to run at the
    /// same time: for engines that keep what threads contend for in several
    /// copies.
    #[must_use]
    pub fn spread(&self) -> usize {
        let host = usize::try_from(self.host_id).unwrap_or_default();
        self.place.wrapping_add(host)
    }

    /// What the guest may use.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Whether the running call, or the running start functions, may be ended
    /// from outside, so that [`ModuleState::check`] must be called.
    #[inline]
    #[must_use]
    pub const fn is_timed(&self) -> bool {
        self.budget.is_timed()
    }

    /// Whether the guest may go on. Costs two loads.
    ///
    /// # Errors
    ///
    /// [`Stop::TimedOut`], [`Stop::Cancelled`].
    #[inline]
    pub fn check(&self) -> Result<(), Stop> {
        self.budget.check()
    }

    /// What sees the same as [`ModuleState::check`] from elsewhere, for as long
    /// as the instance lives.
    #[must_use]
    pub fn watch(&mut self) -> Watch {
        self.budget.watch()
    }

    /// The fuel of the running call, or of the running start functions; `None`
    /// if it is without end.
    #[inline]
    #[must_use]
    pub const fn fuel(&self) -> Option<u64> {
        self.budget.fuel()
    }

    /// Notes how much fuel the call has used until now, for its error.
    pub fn set_fuel_used(&mut self, fuel: u64) {
        self.traces.fuel_used = Some(fuel);
    }

    /// The end of a guest that has used up [`ModuleState::fuel`].
    #[must_use]
    pub const fn out_of_fuel(&self) -> Stop {
        Stop::Limit(LimitError::Fuel {
            limit: match self.budget.fuel() {
                Some(fuel) => fuel,
                None => u64::MAX,
            },
        })
    }

    /// Whether a module with so many memories and tables may become an
    /// instance. To be asked before it does.
    ///
    /// # Errors
    ///
    /// [`LimitError::Memories`], [`LimitError::Tables`].
    pub fn admit(&self, memories: usize, tables: usize) -> Result<(), Stop> {
        let limits = &*self.limits;
        if memories > limits.max_memories {
            let limit = limits.max_memories;
            return Err(LimitError::Memories { limit }.into());
        }
        if tables > limits.max_tables {
            let limit = limits.max_tables;
            return Err(LimitError::Tables { limit }.into());
        }
        Ok(())
    }

    /// Whether a memory may grow from `current` to `desired` bytes; a new one
    /// grows from 0. What is allowed is counted as done. Beyond the `maximum`
    /// of its own type it may not, and that is not a limit's doing.
    pub fn grow_memory(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> bool {
        within(desired, maximum) && {
            let grown = self.growth.grow_memory(&self.limits, current, desired);
            self.allowed(grown)
        }
    }

    /// Takes back the growth that [`ModuleState::grow_memory`] allowed last:
    /// the engine could not do it.
    pub const fn memory_growth_failed(&mut self) {
        self.growth.memory_failed();
    }

    /// Whether a table may grow from `current` to `desired` elements; a new
    /// one grows from 0. What is allowed is counted as done. Beyond the
    /// `maximum` of its own type it may not, and that is not a limit's doing.
    pub fn grow_table(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> bool {
        within(desired, maximum) && {
            let grown = self.growth.grow_table(&self.limits, current, desired);
            self.allowed(grown)
        }
    }

    /// Takes back the growth that [`ModuleState::grow_table`] allowed last:
    /// the engine could not do it.
    pub const fn table_growth_failed(&mut self) {
        self.growth.table_failed();
    }

    fn allowed(&mut self, grown: Result<(), LimitError>) -> bool {
        grown
            .map_err(|refused| self.traces.refused = Some(refused))
            .is_ok()
    }

    /// What the guest was refused last by [`ModuleState::grow_memory`] or
    /// [`ModuleState::grow_table`]: the reason why an instance cannot be made.
    #[must_use]
    pub fn refused(&self) -> Option<&LimitError> {
        self.traces.refused.as_ref()
    }

    /// `__guest_request`: writes the operation's name to `op_ptr` and the
    /// payload to `ptr`.
    ///
    /// # Errors
    ///
    /// [`ProtocolError::OutOfBounds`], [`ProtocolError::NoCall`].
    #[inline]
    pub fn guest_request(&self, memory: &mut [u8], op_ptr: i32, ptr: i32) -> Result<(), Stop> {
        const IMPORT: &str = "__guest_request";
        let Some((operation, payload)) = self.lent.request() else {
            return Err(ProtocolError::NoCall { import: IMPORT }.into());
        };
        write(memory, op_ptr, operation, IMPORT, "operation")?;
        write(memory, ptr, payload, IMPORT, "payload")
    }

    /// `__guest_response`: takes the guest's answer. Of several the last one
    /// counts.
    ///
    /// # Errors
    ///
    /// [`ProtocolError::OutOfBounds`], [`ProtocolError::NoCall`],
    /// [`LimitError::BytesOut`].
    #[inline]
    pub fn guest_response(&mut self, memory: &[u8], ptr: i32, len: i32) -> Result<(), Stop> {
        const IMPORT: &str = "__guest_response";
        let response = read(memory, ptr, len, IMPORT, "response")?;
        bounded(&self.limits, response.len(), IMPORT, "a response")?;
        let Some(sink) = self.lent.sink() else {
            return Err(ProtocolError::NoCall { import: IMPORT }.into());
        };
        sink.take(response);
        self.responded = true;
        Ok(())
    }

    /// `__guest_error`: takes the guest's reason for failing. Of several the
    /// last one counts.
    ///
    /// # Errors
    ///
    /// [`ProtocolError::OutOfBounds`], [`LimitError::BytesOut`],
    /// [`ProtocolError::NotUtf8`].
    pub fn guest_error(&mut self, memory: &[u8], ptr: i32, len: i32) -> Result<(), Stop> {
        const IMPORT: &str = "__guest_error";
        let message = read(memory, ptr, len, IMPORT, "error")?;
        bounded(&self.limits, message.len(), IMPORT, "an error")?;
        let message = from_utf8(message).map_err(|error| not_utf8(error, IMPORT, "error"))?;
        self.traces.guest_error = Some(message.to_owned());
        Ok(())
    }

    /// `__host_call`: asks the host callback. Returns 1 if it answered, 0 if
    /// it failed.
    ///
    /// # Errors
    ///
    /// [`ProtocolError::OutOfBounds`], [`ProtocolError::NotUtf8`],
    /// [`LimitError::HostCalls`], [`LimitError::BytesOut`];
    /// [`ProtocolError::CallbackPanicked`] if it did, and
    /// [`Stop::TimedOut`] or [`Stop::Cancelled`] if the callback outlived the
    /// call's time.
    #[expect(
        clippy::too_many_arguments,
        reason = "waPC's `__host_call` has these eight"
    )]
    #[inline]
    pub fn host_call(
        &mut self,
        memory: &[u8],
        bd_ptr: i32,
        bd_len: i32,
        ns_ptr: i32,
        ns_len: i32,
        op_ptr: i32,
        op_len: i32,
        ptr: i32,
        len: i32,
    ) -> Result<i32, Stop> {
        let Self {
            callback,
            traces,
            limits,
            budget,
            names,
            ..
        } = self;
        let Callback::Blocking(callback) = callback else {
            let numbers = [bd_ptr, bd_len, ns_ptr, ns_len, op_ptr, op_len, ptr, len];
            return self.ask_without_waiting(memory, numbers);
        };
        let response = traces.begin_host_call(limits)?;
        let call = read_host_call(
            self.host_id,
            self.generation,
            names,
            limits,
            budget,
            memory,
            [bd_ptr, bd_len, ns_ptr, ns_len, op_ptr, op_len, ptr, len],
        )?;
        // The guest's state is not looked at after a panic: the instance is
        // dropped.
        let answer = catch_unwind(AssertUnwindSafe(|| {
            let _within = Within::enter(call.host_id);
            callback
                .call(call, response)
                .map_err(|error| error.to_string())
        }));
        self.conclude_host_call(answer)
    }

    /// `__host_call` where the callback may await: begins to ask it. Where the
    /// guest has a thread of its own, waits for the answer as well.
    ///
    /// # Errors
    ///
    /// As [`ModuleState::host_call`].
    pub fn ask_host(&mut self, memory: &[u8], numbers: [i32; 8]) -> Result<Asked, Stop> {
        let Callback::Async(callback) = &self.callback else {
            let [bd_ptr, bd_len, ns_ptr, ns_len, op_ptr, op_len, ptr, len] = numbers;
            return self
                .host_call(
                    memory, bd_ptr, bd_len, ns_ptr, ns_len, op_ptr, op_len, ptr, len,
                )
                .map(Asked::Answered);
        };
        if !self.budget.may_await() && self.waiter.is_none() {
            return Err(ProtocolError::CallbackAwaits { import: HOST_CALL }.into());
        }
        self.traces.begin_host_call(&self.limits)?;
        let call = OwnedHostCall::new(read_host_call(
            self.host_id,
            self.generation,
            &mut self.names,
            &self.limits,
            &self.budget,
            memory,
            numbers,
        )?);
        let limits = WaitLimits::new(
            self.budget.expires(),
            self.budget.timeout(),
            self.budget.cancel().cloned(),
        );
        let begun = catch_unwind(AssertUnwindSafe(|| {
            let _within = Within::enter(self.host_id);
            callback.call(call)
        }));
        let answer = match begun {
            Ok(future) => HostAnswer::new(self.host_id, future, limits),
            Err(panic) => return Err(self.callback_panicked(panic)),
        };
        match self.waiter.clone() {
            Some(waiter) => self
                .host_answered(waiter.wait_for(answer))
                .map(Asked::Answered),
            None => Ok(Asked::Waiting(answer)),
        }
    }

    /// `__host_call` of a guest that its engine cannot suspend here.
    #[cold]
    fn ask_without_waiting(&mut self, memory: &[u8], numbers: [i32; 8]) -> Result<i32, Stop> {
        match self.ask_host(memory, numbers)? {
            Asked::Answered(answered) => Ok(answered),
            Asked::Waiting(_) => Err(ProtocolError::CallbackAwaits { import: HOST_CALL }.into()),
        }
    }

    /// Where host calls are answered while the guest runs on a thread of its
    /// own.
    pub(crate) fn set_waiter(&mut self, waiter: Option<Arc<dyn WaitForAnswer>>) {
        self.waiter = waiter;
    }

    /// What `__host_call` returns, now that the answer is there.
    ///
    /// # Errors
    ///
    /// As [`ModuleState::host_call`].
    pub fn host_answered(&mut self, answer: Answer) -> Result<i32, Stop> {
        match answer.0 {
            AnswerKind::Given(Ok(response)) => {
                self.traces.host_response = response;
                self.conclude_host_call(Ok(Ok(())))
            }
            AnswerKind::Given(Err(error)) => self.conclude_host_call(Ok(Err(error))),
            AnswerKind::Panicked(panic) => self.conclude_host_call(Err(panic)),
            AnswerKind::Stopped(stop) => Err(stop),
        }
    }

    /// Whether a host call may have to await, so that [`ModuleState::ask_host`]
    /// must be used.
    #[must_use]
    pub const fn awaits(&self) -> bool {
        matches!(self.callback, Callback::Async(_))
    }

    /// Whether the guest must let others run now, as far as it can: asked every
    /// few milliseconds, it says so once for each slice of an async call.
    #[must_use]
    pub fn pause_due(&mut self) -> bool {
        self.budget.pause_due()
    }

    /// What the callback's answer, or its panic, means for the guest.
    #[inline]
    fn conclude_host_call(
        &mut self,
        answer: Result<Result<(), String>, Box<dyn Any + Send>>,
    ) -> Result<i32, Stop> {
        let (bytes, limit) = (self.traces.host_response.len(), self.limits.max_bytes_in);
        let answered = match answer {
            Ok(Ok(())) if bytes <= limit => 1,
            Ok(Ok(())) => {
                self.traces.host_error = format!(
                    "the host's answer of {bytes} bytes is above the limit of {limit} bytes"
                );
                self.traces.host_response = Vec::new();
                0
            }
            Ok(Err(error)) => {
                self.traces.host_error = error;
                self.traces.host_response.clear();
                0
            }
            Err(panic) => return Err(self.callback_panicked(panic)),
        };
        self.budget.check()?;
        Ok(answered)
    }

    #[cold]
    fn callback_panicked(&self, panic: Box<dyn Any + Send>) -> Stop {
        self.panic.put(panic);
        ProtocolError::CallbackPanicked { import: HOST_CALL }.into()
    }

    /// `__host_response_len`: the length of the host's last answer in bytes; 0
    /// if there is none.
    ///
    /// # Errors
    ///
    /// [`ProtocolError::TooLarge`] if it does not fit a guest's memory.
    #[inline]
    pub fn host_response_len(&self) -> Result<i32, Stop> {
        length(
            self.traces.host_response.len(),
            "__host_response_len",
            "response",
        )
    }

    /// `__host_response`: writes the host's last answer to `ptr`; nothing if
    /// there is none.
    ///
    /// # Errors
    ///
    /// [`ProtocolError::OutOfBounds`].
    #[inline]
    pub fn host_response(&self, memory: &mut [u8], ptr: i32) -> Result<(), Stop> {
        write(
            memory,
            ptr,
            &self.traces.host_response,
            "__host_response",
            "response",
        )
    }

    /// `__host_error_len`: the length of the last host call's error text in
    /// bytes; 0 if it did not fail.
    ///
    /// # Errors
    ///
    /// [`ProtocolError::TooLarge`] if it does not fit a guest's memory.
    pub fn host_error_len(&self) -> Result<i32, Stop> {
        length(self.traces.host_error.len(), "__host_error_len", "error")
    }

    /// `__host_error`: writes the last host call's error text to `ptr`;
    /// nothing if it did not fail.
    ///
    /// # Errors
    ///
    /// [`ProtocolError::OutOfBounds`].
    pub fn host_error(&self, memory: &mut [u8], ptr: i32) -> Result<(), Stop> {
        write(
            memory,
            ptr,
            self.traces.host_error.as_bytes(),
            "__host_error",
            "error",
        )
    }

    /// `__console_log`: hands a line to the `log` crate, at level `info` with
    /// the target `wapc::guest`, marked with the host's id. Bytes that are not
    /// UTF-8 are replaced by `U+FFFD`: a garbled line says more than none.
    ///
    /// # Errors
    ///
    /// [`ProtocolError::OutOfBounds`], [`LimitError::LogBytes`].
    pub fn console_log(&mut self, memory: &[u8], ptr: i32, len: i32) -> Result<(), Stop> {
        let line = read(memory, ptr, len, "__console_log", "line")?;
        self.traces.count_log_line(&self.limits, line.len())?;
        if log::log_enabled!(target: LOG_TARGET, log::Level::Info) {
            let line = String::from_utf8_lossy(line);
            let _within = Within::enter(self.host_id);
            log::info!(target: LOG_TARGET, "[guest of host {}] {line}", self.host_id);
        }
        Ok(())
    }

    /// `env.abort`, which AssemblyScript guests may import: takes its message
    /// and place for the guest's error, unless the guest has set one. The
    /// guest traps by itself after it.
    ///
    /// The two pointers are AssemblyScript strings: UTF-16, with the length in
    /// bytes in the four bytes before them. What is not in memory is left out.
    /// Source: <https://www.assemblyscript.org/runtime.html#memory-layout>.
    pub fn abort(&mut self, memory: &[u8], message: i32, file: i32, line: i32, column: i32) {
        if self.traces.guest_error.is_some() {
            return;
        }
        let message = assembly_script_string(memory, message);
        let file = assembly_script_string(memory, file);
        self.traces.guest_error = Some(format!(
            "{} at {}:{}:{}",
            message.as_deref().unwrap_or("abort"),
            file.as_deref().unwrap_or("an unknown file"),
            line.cast_unsigned(),
            column.cast_unsigned(),
        ));
    }

    /// Forgets the last call, so that the next one finds nothing of it. An
    /// async one pauses after each `slice` ticks.
    #[inline]
    pub(crate) fn begin(&mut self, options: Option<&CallOptions>, slice: Option<NonZeroU64>) {
        self.budget.begin(&self.limits, options, slice);
        self.responded = false;
        self.traces.forget();
    }

    pub(crate) const fn lent_mut(&mut self) -> &mut Lent {
        &mut self.lent
    }

    /// Lets the guest pause after each `slice` ticks of its start functions.
    pub(crate) fn set_slice(&mut self, slice: NonZeroU64) {
        self.budget.set_slice(slice);
    }

    pub(crate) fn spent(&self) -> Spent {
        Spent {
            time: self.budget.time_spent(),
            fuel: self.traces.fuel_used,
        }
    }

    /// Whether the guest has set a response.
    #[inline]
    pub(crate) const fn has_responded(&self) -> bool {
        self.responded
    }

    /// The clock's ticks since the call began.
    #[inline]
    pub(crate) fn ticks(&self) -> u64 {
        self.budget.ticks()
    }

    pub(crate) fn take_guest_error(&mut self) -> Option<String> {
        self.traces.guest_error.take()
    }

    pub(crate) const fn panic_slot(&self) -> &Arc<PanicSlot> {
        &self.panic
    }
}

fn within(desired: usize, maximum: Option<usize>) -> bool {
    maximum.is_none_or(|maximum| desired <= maximum)
}

/// Where a callback's panic waits until the engine has unwound the guest.
///
/// Shared with the host, since a start function's failure takes the state
/// with it.
#[derive(Default)]
pub(crate) struct PanicSlot(Mutex<Option<Box<dyn Any + Send>>>);

impl PanicSlot {
    fn put(&self, panic: Box<dyn Any + Send>) {
        *self.0.lock() = Some(panic);
    }

    pub(crate) fn take(&self) -> Option<Box<dyn Any + Send>> {
        self.0.lock().take()
    }
}

impl fmt::Debug for ModuleState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ModuleState")
            .field("host_id", &self.host_id)
            .field("generation", &self.generation)
            .field("lent", &self.lent)
            .field("responded", &self.responded)
            .field("guest_error", &self.traces.guest_error)
            .field("host_response_bytes", &self.traces.host_response.len())
            .field("host_error", &self.traces.host_error)
            .finish_non_exhaustive()
    }
}

/// Lists the functions that the host exports to guests in the module `wapc`,
/// each with the method of [`ModuleState`] that answers it, for the macro
/// `$link`. For engines.
///
/// `with_memory` take the guest's memory as their first argument.
#[macro_export]
macro_rules! for_each_import {
    ($link:ident!($($context:tt)*)) => {
        $link! {
            ($($context)*)
            with_memory {
                __console_log => console_log(ptr, len) -> ();
                __guest_error => guest_error(ptr, len) -> ();
                __guest_request => guest_request(op_ptr, ptr) -> ();
                __guest_response => guest_response(ptr, len) -> ();
                __host_call =>
                    host_call(bd_ptr, bd_len, ns_ptr, ns_len, op_ptr, op_len, ptr, len) -> i32;
                __host_error => host_error(ptr) -> ();
                __host_response => host_response(ptr) -> ();
            }
            without_memory {
                __host_error_len => host_error_len() -> i32;
                __host_response_len => host_response_len() -> i32;
            }
        }
    };
}

/// The target of guests' log lines.
const LOG_TARGET: &str = "wapc::guest";

const HOST_CALL: &str = "__host_call";

/// What a guest asks of its host by the eight numbers of `__host_call`.
#[inline(always)]
fn read_host_call<'c>(
    host_id: u64,
    generation: u64,
    names: &'c mut Names,
    limits: &Limits,
    budget: &'c Budget,
    memory: &'c [u8],
    numbers: [i32; 8],
) -> Result<HostCall<'c>, Stop> {
    let [bd_ptr, bd_len, ns_ptr, ns_len, op_ptr, op_len, ptr, len] = numbers;
    let call = HostCall {
        host_id,
        generation,
        binding: read_name(&mut names.binding, memory, bd_ptr, bd_len, "binding")?,
        namespace: read_name(&mut names.namespace, memory, ns_ptr, ns_len, "namespace")?,
        operation: read_name(&mut names.operation, memory, op_ptr, op_len, "operation")?,
        payload: read(memory, ptr, len, HOST_CALL, "payload")?,
        budget,
    };
    bounded(limits, call.bytes(), HOST_CALL, "a call")?;
    Ok(call)
}

/// The part of `memory` that a guest names by a pointer and a length.
#[inline]
fn read<'m>(
    memory: &'m [u8],
    ptr: i32,
    len: i32,
    import: &'static str,
    what: &'static str,
) -> Result<&'m [u8], Stop> {
    let (pointer, length) = (ptr.cast_unsigned(), len.cast_unsigned() as usize);
    if length == 0 {
        return Ok(&[]);
    }
    let start = pointer as usize;
    start
        .checked_add(length)
        .and_then(|end| memory.get(start..end))
        .ok_or_else(|| out_of_bounds(memory, pointer, length, import, what).into())
}

/// One of the three names of a host call.
#[inline]
fn read_name<'c>(
    last: &'c mut Name,
    memory: &'c [u8],
    ptr: i32,
    len: i32,
    what: &'static str,
) -> Result<&'c str, Stop> {
    let bytes = read(memory, ptr, len, HOST_CALL, what)?;
    last.text(bytes)
        .map_err(|error| not_utf8(error, HOST_CALL, what))
}

#[cold]
const fn not_utf8(error: Utf8Error, import: &'static str, what: &'static str) -> Stop {
    Stop::Protocol(ProtocolError::NotUtf8 {
        import,
        what,
        valid_up_to: error.valid_up_to(),
    })
}

/// Refuses a message from the guest that is too long. What is out of bounds is
/// so before it is too long.
#[inline]
fn bounded(
    limits: &Limits,
    bytes: usize,
    import: &'static str,
    what: &'static str,
) -> Result<(), Stop> {
    let limit = limits.max_bytes_out;
    if bytes <= limit {
        return Ok(());
    }
    Err(Stop::Limit(LimitError::BytesOut {
        import,
        what,
        bytes,
        limit,
    }))
}

/// Writes `bytes` to where a guest wants them.
#[inline]
fn write(
    memory: &mut [u8],
    ptr: i32,
    bytes: &[u8],
    import: &'static str,
    what: &'static str,
) -> Result<(), Stop> {
    if bytes.is_empty() {
        return Ok(());
    }
    let start = ptr.cast_unsigned() as usize;
    match start
        .checked_add(bytes.len())
        .and_then(|end| memory.get_mut(start..end))
    {
        Some(target) => {
            target.copy_from_slice(bytes);
            Ok(())
        }
        None => Err(out_of_bounds(memory, ptr.cast_unsigned(), bytes.len(), import, what).into()),
    }
}

#[cold]
const fn out_of_bounds(
    memory: &[u8],
    pointer: u32,
    length: usize,
    import: &'static str,
    what: &'static str,
) -> ProtocolError {
    ProtocolError::OutOfBounds {
        import,
        what,
        pointer,
        length,
        memory: memory.len(),
    }
}

/// A length as it travels: an unsigned 32-bit number in an `i32`.
fn length(bytes: usize, import: &'static str, what: &'static str) -> Result<i32, Stop> {
    u32::try_from(bytes).map(u32::cast_signed).map_err(|_| {
        Stop::Protocol(ProtocolError::TooLarge {
            import,
            what,
            bytes,
        })
    })
}

fn assembly_script_string(memory: &[u8], ptr: i32) -> Option<String> {
    let start = ptr.cast_unsigned() as usize;
    let (before, from) = memory.split_at_checked(start)?;
    let bytes = u32::from_le_bytes(*before.last_chunk()?) as usize;
    let (units, _) = from.get(..bytes.min(MAX_ABORT_STRING_BYTES))?.as_chunks();
    let units = units.iter().copied().map(u16::from_le_bytes);
    Some(
        char::decode_utf16(units)
            .map(|unit| unit.unwrap_or('\u{fffd}'))
            .collect(),
    )
}

/// A message for people; a guest may claim that it has 4 GiB.
const MAX_ABORT_STRING_BYTES: usize = 64 * 1024;

#[cfg(test)]
mod tests;
