//! `__host_call`: running the host's callback, or awaiting it, and the result
//! for the guest.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
};

use super::ModuleState;
#[cfg(doc)]
use crate::limits::guest::LimitError;
use crate::{
    error::{ProtocolError, StopReason},
    limits::guest::Limits,
    protocol::budget::Budget,
    protocol::callback::Callback,
    protocol::functions::CallDetails,
    protocol::host_call::{HostCall, OwnedHostCall},
    protocol::memory::{check_outbound, not_utf8, read},
    protocol::pending::{
        HostCallOutcome, HostCallResult, HostCallStart, PendingHostCall, WaitLimits,
    },
    protocol::reentrancy::ReentrancyGuard,
    protocol::scratch::{CachedName, Utf8Cache},
    stack::OnGuestStack,
};

impl ModuleState {
    /// `__host_call`: runs the host callback. Returns 1 if it has answered, 0 if
    /// it has failed.
    ///
    /// # Errors
    ///
    /// [`ProtocolError::OutOfBounds`] if a name or the payload is not within
    /// the memory; [`ProtocolError::NotUtf8`] if a name is not text;
    /// [`LimitError::HostCalls`] or [`LimitError::OutboundBytes`] if the call
    /// exceeds a limit; [`ProtocolError::CallbackPanicked`] if the callback has
    /// panicked; [`StopReason::TimedOut`] or [`StopReason::Cancelled`] if the
    /// guest's call ended while the callback ran;
    /// [`ProtocolError::CallbackAwaits`] if the callback is async.
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
    ) -> Result<i32, StopReason> {
        let Self {
            callback,
            scratch,
            limits,
            budget,
            names,
            ..
        } = self;
        let Callback::Blocking(callback) = callback else {
            let numbers = [bd_ptr, bd_len, ns_ptr, ns_len, op_ptr, op_len, ptr, len];
            return self.host_call_without_waiting(memory, numbers);
        };
        budget.check()?;
        let is_async = budget.may_await();
        let response = scratch.values_mut().begin_host_call(limits)?;
        let call = read_host_call(
            self.host_id,
            self.generation,
            names,
            limits,
            budget,
            memory,
            [bd_ptr, bd_len, ns_ptr, ns_len, op_ptr, op_len, ptr, len],
        )?;
        // Unwind safety: after a panic the instance is dropped, so its state is
        // not observed.
        let answer = catch_unwind(AssertUnwindSafe(|| {
            let _guard = ReentrancyGuard::scoped(call.host_id);
            let _stack = OnGuestStack::enter(is_async);
            callback
                .call(call, response)
                .map_err(|error| error.to_string())
        }));
        self.conclude_host_call(answer)
    }

    /// `__host_call` of an engine that can suspend its guests: calls the
    /// callback, which may not be ready yet.
    ///
    /// # Errors
    ///
    /// The same as of [`ModuleState::host_call`].
    pub fn start_host_call(
        &mut self,
        memory: &[u8],
        numbers: [i32; 8],
    ) -> Result<HostCallStart, StopReason> {
        let Callback::Async(callback) = &self.callback else {
            let [bd_ptr, bd_len, ns_ptr, ns_len, op_ptr, op_len, ptr, len] = numbers;
            return self
                .host_call(
                    memory, bd_ptr, bd_len, ns_ptr, ns_len, op_ptr, op_len, ptr, len,
                )
                .map(HostCallStart::Ready);
        };
        self.check()?;
        if !self.budget.may_await() {
            return Err(ProtocolError::CallbackAwaits { import: HOST_CALL }.into());
        }
        self.scratch.values_mut().begin_host_call(&self.limits)?;
        let call = OwnedHostCall::new(read_host_call(
            self.host_id,
            self.generation,
            &mut self.names,
            &self.limits,
            &self.budget,
            memory,
            numbers,
        )?);
        let limits = self.wait_limits();
        let begun = catch_unwind(AssertUnwindSafe(|| {
            let _guard = ReentrancyGuard::scoped(self.host_id);
            let _stack = OnGuestStack::enter(true);
            callback.call(call)
        }));
        match begun {
            Ok(future) => Ok(HostCallStart::Pending(PendingHostCall::new(
                self.host_id,
                future,
                limits,
            ))),
            Err(panic) => Err(self.foreign_panicked(HOST_CALL, panic)),
        }
    }

    /// `__host_call` of a guest that its engine cannot suspend here.
    #[cold]
    fn host_call_without_waiting(
        &mut self,
        memory: &[u8],
        numbers: [i32; 8],
    ) -> Result<i32, StopReason> {
        match self.start_host_call(memory, numbers)? {
            HostCallStart::Ready(answered) => Ok(answered),
            HostCallStart::Pending(_) => {
                Err(ProtocolError::CallbackAwaits { import: HOST_CALL }.into())
            }
        }
    }

    /// Ends a pending host call, and returns the number for `__host_call` to
    /// return.
    ///
    /// # Errors
    ///
    /// The same as of [`ModuleState::host_call`].
    pub fn finish_host_call(&mut self, result: HostCallResult) -> Result<i32, StopReason> {
        match result.0 {
            HostCallOutcome::Ended(Ok(response)) => {
                self.scratch.values_mut().host_response = response;
                self.conclude_host_call(Ok(Ok(())))
            }
            HostCallOutcome::Ended(Err(error)) => self.conclude_host_call(Ok(Err(error))),
            HostCallOutcome::Panicked(panic) => self.conclude_host_call(Err(panic)),
            HostCallOutcome::Stopped(stop) => Err(stop),
        }
    }

    /// Returns `true` if the host's callback is async. Then the engine must link
    /// [`ModuleState::start_host_call`] as `__host_call`.
    #[must_use]
    pub const fn has_async_callback(&self) -> bool {
        matches!(self.callback, Callback::Async(_))
    }

    /// Counts the call of a function of [`HostFunctions`](crate::HostFunctions).
    pub(crate) fn count_function_call(&mut self) -> Result<(), StopReason> {
        self.scratch.values_mut().count_host_call(&self.limits)
    }

    pub(crate) fn call_details(&self) -> CallDetails {
        CallDetails {
            host_id: self.host_id,
            generation: self.generation,
            expires: self.budget.expires(),
            cancel: self.budget.cancel().cloned(),
            context: self.budget.shared_context(),
            trace: self.budget.trace().cloned(),
        }
    }

    pub(crate) fn wait_limits(&self) -> WaitLimits {
        WaitLimits::new(
            self.budget.expires(),
            self.budget.timeout(),
            self.budget.cancel().cloned(),
        )
    }

    /// Records the callback's answer, error or panic for the guest, and checks
    /// the limits.
    #[inline]
    fn conclude_host_call(
        &mut self,
        answer: Result<Result<(), String>, Box<dyn Any + Send>>,
    ) -> Result<i32, StopReason> {
        let (bytes, limit) = (
            self.scratch.values().host_response.len(),
            self.limits.max_inbound_bytes,
        );
        let answered = match answer {
            Ok(Ok(())) if bytes <= limit => 1,
            Ok(Ok(())) => {
                self.scratch.values_mut().host_error = too_long("answer", bytes, limit);
                self.scratch.values_mut().host_response = Vec::new();
                0
            }
            Ok(Err(error)) => {
                self.scratch.values_mut().host_error = bounded(error, limit);
                self.scratch.values_mut().host_response.clear();
                0
            }
            Err(panic) => return Err(self.foreign_panicked(HOST_CALL, panic)),
        };
        self.budget.check()?;
        Ok(answered)
    }

    #[cold]
    pub(crate) fn foreign_panicked(
        &self,
        import: &'static str,
        panic: Box<dyn Any + Send>,
    ) -> StopReason {
        self.panic.put(panic);
        ProtocolError::CallbackPanicked { import }.into()
    }
}

/// Returns the error's text for the guest, or what is wrong with it.
fn bounded(error: String, limit: usize) -> String {
    match error.len() <= limit {
        true => error,
        false => too_long("error", error.len(), limit),
    }
}

#[cold]
fn too_long(what: &str, bytes: usize, limit: usize) -> String {
    format!("the host's {what} of {bytes} bytes is above the limit of {limit} bytes")
}

/// Reads the names and the payload of a host call from the guest's memory.
#[inline(always)]
fn read_host_call<'c>(
    host_id: u64,
    generation: u64,
    names: &'c mut Utf8Cache,
    limits: &Limits,
    budget: &'c Budget,
    memory: &'c [u8],
    numbers: [i32; 8],
) -> Result<HostCall<'c>, StopReason> {
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
    check_outbound(limits, call.bytes(), HOST_CALL, "a call")?;
    Ok(call)
}

/// Reads one of the three names of a host call.
#[inline]
fn read_name<'c>(
    last: &'c mut CachedName,
    memory: &'c [u8],
    ptr: i32,
    len: i32,
    what: &'static str,
) -> Result<&'c str, StopReason> {
    let bytes = read(memory, ptr, len, HOST_CALL, what)?;
    last.text(bytes)
        .map_err(|error| not_utf8(error, HOST_CALL, what))
}

const HOST_CALL: &str = "__host_call";
