//! The instructions of the interpreter.

use wapc_host::error::TrapCode;
use wasmparser::Operator;

/// An instruction. Indices are those of the module.
pub(crate) enum Instruction {
    Unreachable,
    Return,
    Drop,
    Select,
    Branch(Branch),
    BranchIf(Branch),
    BranchUnless(Branch),
    Call(usize),
    Constant(i32),
    LocalGet(usize),
    LocalSet(usize),
    LocalTee(usize),
    GlobalGet(usize),
    GlobalSet(usize),
    Load { offset: usize, read: Read },
    Store { offset: usize, bytes: usize },
    MemorySize,
    MemoryGrow,
    Unary(fn(i32) -> i32),
    Binary(fn(i32, i32) -> Result<i32, TrapCode>),
}

/// Reads a value from the start of the bytes; `None` if there are too few.
type Read = fn(&[u8]) -> Option<i32>;

/// A jump, and the operands that it leaves on the stack.
pub(crate) struct Branch {
    /// The position of the next instruction in the function.
    pub(crate) target: usize,
    /// The number of the function's values, locals included, below the block.
    pub(crate) height: usize,
    /// The topmost value is the result of the block.
    pub(crate) keeps_value: bool,
}

impl Instruction {
    /// Returns the instruction for an `operator` that is not about control;
    /// `None` if the interpreter has none.
    pub(crate) fn new(operator: &Operator<'_>) -> Option<Self> {
        Some(match *operator {
            Operator::Unreachable => Self::Unreachable,
            Operator::Return => Self::Return,
            Operator::Drop => Self::Drop,
            Operator::Select => Self::Select,
            Operator::Call { function_index } => Self::Call(index(function_index)),
            Operator::I32Const { value } => Self::Constant(value),
            Operator::LocalGet { local_index } => Self::LocalGet(index(local_index)),
            Operator::LocalSet { local_index } => Self::LocalSet(index(local_index)),
            Operator::LocalTee { local_index } => Self::LocalTee(index(local_index)),
            Operator::GlobalGet { global_index } => Self::GlobalGet(index(global_index)),
            Operator::GlobalSet { global_index } => Self::GlobalSet(index(global_index)),
            Operator::MemorySize { .. } => Self::MemorySize,
            Operator::MemoryGrow { .. } => Self::MemoryGrow,
            _ => return Self::access(operator).or_else(|| Self::arithmetic(operator)),
        })
    }

    fn access(operator: &Operator<'_>) -> Option<Self> {
        let load = |offset: u64, read| {
            let offset = usize::try_from(offset).ok()?;
            Some(Self::Load { offset, read })
        };
        let store = |offset: u64, bytes| {
            let offset = usize::try_from(offset).ok()?;
            Some(Self::Store { offset, bytes })
        };
        match operator {
            Operator::I32Load { memarg } => load(memarg.offset, |bytes| {
                bytes.first_chunk().map(|it| i32::from_le_bytes(*it))
            }),
            Operator::I32Load8U { memarg } => {
                load(memarg.offset, |bytes| bytes.first().map(|it| (*it).into()))
            }
            Operator::I32Store { memarg } => store(memarg.offset, 4),
            Operator::I32Store8 { memarg } => store(memarg.offset, 1),
            _ => None,
        }
    }

    fn arithmetic(operator: &Operator<'_>) -> Option<Self> {
        Some(match operator {
            Operator::I32Eqz => Self::Unary(|a| (a == 0).into()),
            Operator::I32Eq => Self::Binary(|a, b| Ok((a == b).into())),
            Operator::I32Ne => Self::Binary(|a, b| Ok((a != b).into())),
            Operator::I32LtS => Self::Binary(|a, b| Ok((a < b).into())),
            Operator::I32GtS => Self::Binary(|a, b| Ok((a > b).into())),
            Operator::I32LeS => Self::Binary(|a, b| Ok((a <= b).into())),
            Operator::I32GeS => Self::Binary(|a, b| Ok((a >= b).into())),
            Operator::I32LtU => {
                Self::Binary(|a, b| Ok((a.cast_unsigned() < b.cast_unsigned()).into()))
            }
            Operator::I32GtU => {
                Self::Binary(|a, b| Ok((a.cast_unsigned() > b.cast_unsigned()).into()))
            }
            Operator::I32LeU => {
                Self::Binary(|a, b| Ok((a.cast_unsigned() <= b.cast_unsigned()).into()))
            }
            Operator::I32GeU => {
                Self::Binary(|a, b| Ok((a.cast_unsigned() >= b.cast_unsigned()).into()))
            }
            Operator::I32Add => Self::Binary(|a, b| Ok(a.wrapping_add(b))),
            Operator::I32Sub => Self::Binary(|a, b| Ok(a.wrapping_sub(b))),
            Operator::I32Mul => Self::Binary(|a, b| Ok(a.wrapping_mul(b))),
            Operator::I32DivU => Self::Binary(|a, b| {
                let quotient = a.cast_unsigned().checked_div(b.cast_unsigned());
                let quotient = quotient.ok_or(TrapCode::IntegerDivideByZero)?;
                Ok(quotient.cast_signed())
            }),
            Operator::I32RemU => Self::Binary(|a, b| {
                let rest = a.cast_unsigned().checked_rem(b.cast_unsigned());
                Ok(rest.ok_or(TrapCode::IntegerDivideByZero)?.cast_signed())
            }),
            Operator::I32And => Self::Binary(|a, b| Ok(a & b)),
            Operator::I32Or => Self::Binary(|a, b| Ok(a | b)),
            Operator::I32Xor => Self::Binary(|a, b| Ok(a ^ b)),
            Operator::I32Shl => Self::Binary(|a, b| Ok(a.wrapping_shl(b.cast_unsigned()))),
            Operator::I32ShrS => Self::Binary(|a, b| Ok(a.wrapping_shr(b.cast_unsigned()))),
            Operator::I32ShrU => Self::Binary(|a, b| {
                let shifted = a.cast_unsigned().wrapping_shr(b.cast_unsigned());
                Ok(shifted.cast_signed())
            }),
            _ => return None,
        })
    }
}

/// Converts an index, a length or an address of the guest.
pub(crate) fn index(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
