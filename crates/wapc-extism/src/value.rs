//! Numbers between plugins and their hosts.

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

impl ValType {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::I32 => "i32",
            Self::I64 => "i64",
            Self::F32 => "f32",
            Self::F64 => "f64",
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "the upper half is 0")]
    pub(crate) const fn val(self, bits: u64) -> Val {
        match self {
            Self::I32 => Val::I32((bits as u32).cast_signed()),
            Self::I64 => Val::I64(bits.cast_signed()),
            Self::F32 => Val::F32(bits as u32),
            Self::F64 => Val::F64(bits),
        }
    }
}

impl Val {
    /// Returns its type.
    #[must_use]
    pub const fn ty(&self) -> ValType {
        match self {
            Self::I32(_) => ValType::I32,
            Self::I64(_) => ValType::I64,
            Self::F32(_) => ValType::F32,
            Self::F64(_) => ValType::F64,
        }
    }

    pub(crate) const fn bits(self) -> u64 {
        match self {
            Self::I32(value) => value.cast_unsigned() as u64,
            Self::I64(value) => value.cast_unsigned(),
            Self::F32(bits) => bits as u64,
            Self::F64(bits) => bits,
        }
    }
}
