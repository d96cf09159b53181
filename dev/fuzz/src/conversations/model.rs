//! A second, independent implementation of `ModuleState`'s behaviour, with 64-bit
//! sums and a memory of its own.

use wapc_host::error::ProtocolError;

/// The model of one `ModuleState` and of its guest's memory.
#[derive(Debug, Default)]
pub(super) struct Model {
    pub(super) memory: Vec<u8>,
    /// The operation and payload of the call that is running.
    pub(super) call: Option<(String, Vec<u8>)>,
    /// The responses of this call, in order.
    pub(super) responses: Vec<Vec<u8>>,
    pub(super) guest_error: Option<Said>,
    pub(super) host_response: Vec<u8>,
    pub(super) host_error: String,
}

/// An error that a guest reported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// By `__guest_error`.
    Text(String),
    /// By `env.abort`: the last part of its text. AssemblyScript words the rest.
    Abort(String),
}

impl Said {
    pub(super) fn is(&self, text: &str) -> bool {
        match self {
            Self::Text(own) => own == text,
            Self::Abort(end) => text.ends_with(end.as_str()),
        }
    }
}

/// A call from the guest to its host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) binding: String,
    pub(super) namespace: String,
    pub(super) operation: String,
    pub(super) payload: Vec<u8>,
}

impl Model {
    pub(super) fn begin(&mut self, operation: String, payload: Vec<u8>) {
        self.call = Some((operation, payload));
        self.responses.clear();
        self.guest_error = None;
        self.host_response.clear();
        self.host_error.clear();
    }

    pub(super) fn guest_request(&mut self, op_ptr: i32, ptr: i32) -> Result<(), ProtocolError> {
        const IMPORT: &str = "__guest_request";
        let Some((operation, payload)) = self.call.clone() else {
            return Err(ProtocolError::NoCall { import: IMPORT });
        };
        self.write(op_ptr, operation.as_bytes(), IMPORT, "operation")?;
        self.write(ptr, &payload, IMPORT, "payload")
    }

    pub(super) fn guest_response(&mut self, ptr: i32, len: i32) -> Result<(), ProtocolError> {
        const IMPORT: &str = "__guest_response";
        let response = self.read(ptr, len, IMPORT, "response")?;
        if self.call.is_none() {
            return Err(ProtocolError::NoCall { import: IMPORT });
        }
        self.responses.push(response);
        Ok(())
    }

    pub(super) fn guest_error(&mut self, ptr: i32, len: i32) -> Result<(), ProtocolError> {
        let text = self.read_text(ptr, len, "__guest_error", "error")?;
        self.guest_error = Some(Said::Text(text));
        Ok(())
    }

    pub(super) fn abort(&mut self, line: i32, column: i32) {
        let (line, column) = (line.cast_unsigned(), column.cast_unsigned());
        self.guest_error
            .get_or_insert_with(|| Said::Abort(format!(":{line}:{column}")));
    }

    /// The call as the callback must get it.
    pub(super) fn host_call(&self, ranges: [(i32, i32); 4]) -> Result<Call, ProtocolError> {
        const IMPORT: &str = "__host_call";
        let [binding, namespace, operation, payload] = ranges;
        let text = |(ptr, len), what| self.read_text(ptr, len, IMPORT, what);
        Ok(Call {
            binding: text(binding, "binding")?,
            namespace: text(namespace, "namespace")?,
            operation: text(operation, "operation")?,
            payload: self.read(payload.0, payload.1, IMPORT, "payload")?,
        })
    }

    pub(super) fn host_response(&mut self, ptr: i32) -> Result<(), ProtocolError> {
        let response = self.host_response.clone();
        self.write(ptr, &response, "__host_response", "response")
    }

    pub(super) fn host_error(&mut self, ptr: i32) -> Result<(), ProtocolError> {
        let error = self.host_error.clone();
        self.write(ptr, error.as_bytes(), "__host_error", "error")
    }

    /// The line that must have been logged.
    pub(super) fn console_log(&self, ptr: i32, len: i32) -> Result<String, ProtocolError> {
        let line = self.read(ptr, len, "__console_log", "line")?;
        Ok(String::from_utf8_lossy(&line).into_owned())
    }

    fn read_text(
        &self,
        ptr: i32,
        len: i32,
        import: &'static str,
        what: &'static str,
    ) -> Result<String, ProtocolError> {
        let bytes = self.read(ptr, len, import, what)?;
        String::from_utf8(bytes).map_err(|error| ProtocolError::NotUtf8 {
            import,
            what,
            valid_up_to: error.utf8_error().valid_up_to(),
        })
    }

    fn read(
        &self,
        ptr: i32,
        len: i32,
        import: &'static str,
        what: &'static str,
    ) -> Result<Vec<u8>, ProtocolError> {
        let length = len.cast_unsigned();
        if length == 0 {
            return Ok(vec![]);
        }
        self.check(ptr, u64::from(length), import, what)?;
        Ok(self
            .memory
            .iter()
            .skip(index(ptr))
            .take(index(len))
            .copied()
            .collect())
    }

    fn write(
        &mut self,
        ptr: i32,
        bytes: &[u8],
        import: &'static str,
        what: &'static str,
    ) -> Result<(), ProtocolError> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.check(ptr, bytes.len() as u64, import, what)?;
        let target = self.memory.iter_mut().skip(index(ptr));
        target.zip(bytes).for_each(|(byte, new)| *byte = *new);
        Ok(())
    }

    fn check(
        &self,
        ptr: i32,
        length: u64,
        import: &'static str,
        what: &'static str,
    ) -> Result<(), ProtocolError> {
        let pointer = ptr.cast_unsigned();
        if u64::from(pointer) + length <= self.memory.len() as u64 {
            return Ok(());
        }
        Err(ProtocolError::OutOfBounds {
            import,
            what,
            pointer,
            length: usize::try_from(length).expect("it is a length in memory"),
            memory: self.memory.len(),
        })
    }
}

fn index(number: i32) -> usize {
    usize::try_from(number.cast_unsigned()).expect("hosts have at least 32 bits")
}
