//! Small functions, which are put in place of the calls to them.
//!
//! To an engine, a call of a function of the same module is a call, which costs more than a load or a store.

use wasm_encoder::{
    Encode, Instruction, ValType,
    reencode::{self, Reencode},
};
use wasmparser::{BlockType, FuncType, FunctionBody, Operator};

use super::{error::Fault, relocate::Relocate};

/// The most operators of a small function, and the most parameters.
const MAX_OPERATORS: usize = 20;
/// The most calls that are replaced in one function, whose code would become too long.
const MAX_CALLS: usize = 1_000;
/// The most locals of a function that gets more, because engines bound them.
const MAX_LOCALS: u32 = 1_000;

/// A small function: numbers, loads, stores and simple conditions, and no locals but its parameters.
pub(super) struct Small {
    params: Vec<ValType>,
    code: Vec<Piece>,
    has_labels: bool,
}

/// A part of the code, with indices of the result but for locals.
enum Piece {
    Bytes(Vec<u8>),
    Local(fn(u32) -> Instruction<'static>, usize),
}

impl Small {
    /// Returns the function if it is small.
    pub(super) fn of(
        body: &FunctionBody<'_>,
        ty: &FuncType,
        to: &mut Relocate<'_>,
    ) -> Result<Option<Self>, Fault> {
        if body.get_locals_reader()?.get_count() > 0 || ty.params().len() > MAX_OPERATORS {
            return Ok(None);
        }
        let params: Result<_, _> = ty.params().iter().map(|ty| to.val_type(*ty)).collect();
        let mut small = Self {
            params: params?,
            code: vec![],
            has_labels: false,
        };
        let mut depth = 0_usize;
        for (number, operator) in body.get_operators_reader()?.into_iter().enumerate() {
            let operator = operator?;
            match operator {
                Operator::Block { .. } | Operator::If { .. } => {
                    depth += 1;
                    small.has_labels = true;
                }
                Operator::End if depth == 0 => return Ok(Some(small)),
                Operator::End => depth -= 1,
                _ => {}
            }
            if number == MAX_OPERATORS || !is_simple(&operator) {
                return Ok(None);
            }
            small.push(operator, to)?;
        }
        Ok(None)
    }

    fn push(
        &mut self,
        operator: Operator<'_>,
        to: &mut Relocate<'_>,
    ) -> Result<(), reencode::Error<super::LinkError>> {
        let (make, local): (fn(_) -> _, _) = match operator {
            Operator::LocalGet { local_index } => (Instruction::LocalGet, local_index),
            Operator::LocalSet { local_index } => (Instruction::LocalSet, local_index),
            Operator::LocalTee { local_index } => (Instruction::LocalTee, local_index),
            operator => {
                let instruction = to.instruction(operator)?;
                match self.code.last_mut() {
                    Some(Piece::Bytes(bytes)) => instruction.encode(bytes),
                    _ => {
                        let mut bytes = Vec::new();
                        instruction.encode(&mut bytes);
                        self.code.push(Piece::Bytes(bytes));
                    }
                }
                return Ok(());
            }
        };
        // One that the function does not have is not valid, and stays so.
        let local = usize::try_from(local).unwrap_or(usize::MAX);
        self.code.push(Piece::Local(make, local));
        Ok(())
    }
}

/// A function into which small ones are put.
pub(super) struct Inlining<'l> {
    small: &'l SmallFunctions,
    first_local: u32,
    /// The types of the locals that have been added, from the first.
    pub(super) added: Vec<ValType>,
    calls: usize,
    /// Set if labels have been added, which changes the numbers of others.
    pub(super) has_labels: bool,
    locals: Vec<u32>,
}

/// The small functions by their indices in the result.
pub(super) type SmallFunctions = Vec<Option<Box<Small>>>;

impl<'l> Inlining<'l> {
    /// `locals` is the number of the function's own, with its parameters.
    pub(super) const fn new(small: &'l SmallFunctions, locals: u32) -> Self {
        Self {
            small,
            first_local: locals,
            added: vec![],
            calls: 0,
            has_labels: false,
            locals: vec![],
        }
    }

    /// Appends the function instead of a call of it, if it is small. Returns whether it has.
    pub(super) fn put(&mut self, function: u32, out: &mut Vec<u8>) -> bool {
        let at = usize::try_from(function).unwrap_or(usize::MAX);
        let Some(Some(small)) = self.small.get(at) else {
            return false;
        };
        if self.calls == MAX_CALLS || self.first_local > MAX_LOCALS {
            return false;
        }
        self.calls += 1;
        self.has_labels |= small.has_labels;
        self.take_locals(&small.params);
        for local in self.locals.iter().rev() {
            Instruction::LocalSet(*local).encode(out);
        }
        for piece in &small.code {
            match piece {
                Piece::Bytes(bytes) => out.extend(bytes),
                Piece::Local(make, param) => {
                    let local = self.locals.get(*param).copied().unwrap_or(u32::MAX);
                    make(local).encode(out);
                }
            }
        }
        true
    }

    /// Finds a local for each parameter. All calls share them: each sets those that it uses.
    fn take_locals(&mut self, params: &[ValType]) {
        self.locals.clear();
        for ty in params {
            let mut local = self.first_local;
            for of in &self.added {
                if of == ty && !self.locals.contains(&local) {
                    break;
                }
                local += 1;
            }
            if !self
                .added
                .iter()
                .zip(self.first_local..)
                .any(|(_, added)| added == local)
            {
                self.added.push(*ty);
            }
            self.locals.push(local);
        }
    }
}

/// Returns whether an operator means the same in another function.
fn is_simple(operator: &Operator<'_>) -> bool {
    use Operator as O;

    if let O::Block { blockty } | O::If { blockty } = operator {
        return !matches!(blockty, BlockType::FuncType(_));
    }
    matches!(
        operator,
        O::Else
            | O::End
            | O::Nop
            | O::Drop
            | O::Select
            | O::LocalGet { .. }
            | O::LocalSet { .. }
            | O::LocalTee { .. }
            | O::GlobalGet { .. }
            | O::GlobalSet { .. }
            | O::MemorySize { .. }
            | O::I32Const { .. }
            | O::I64Const { .. }
            | O::F32Const { .. }
            | O::F64Const { .. }
            | O::I32Load { .. }
            | O::I32Load8S { .. }
            | O::I32Load8U { .. }
            | O::I32Load16S { .. }
            | O::I32Load16U { .. }
            | O::I64Load { .. }
            | O::I64Load8S { .. }
            | O::I64Load8U { .. }
            | O::I64Load16S { .. }
            | O::I64Load16U { .. }
            | O::I64Load32S { .. }
            | O::I64Load32U { .. }
            | O::F32Load { .. }
            | O::F64Load { .. }
            | O::I32Store { .. }
            | O::I32Store8 { .. }
            | O::I32Store16 { .. }
            | O::I64Store { .. }
            | O::I64Store8 { .. }
            | O::I64Store16 { .. }
            | O::I64Store32 { .. }
            | O::F32Store { .. }
            | O::F64Store { .. }
            | O::I32Eqz
            | O::I32Eq
            | O::I32Ne
            | O::I32LtS
            | O::I32LtU
            | O::I32GtS
            | O::I32GtU
            | O::I32LeS
            | O::I32LeU
            | O::I32GeS
            | O::I32GeU
            | O::I64Eqz
            | O::I64Eq
            | O::I64Ne
            | O::I64LtS
            | O::I64LtU
            | O::I64GtS
            | O::I64GtU
            | O::I64LeS
            | O::I64LeU
            | O::I64GeS
            | O::I64GeU
            | O::I32Add
            | O::I32Sub
            | O::I32Mul
            | O::I32And
            | O::I32Or
            | O::I32Xor
            | O::I32Shl
            | O::I32ShrS
            | O::I32ShrU
            | O::I64Add
            | O::I64Sub
            | O::I64Mul
            | O::I64And
            | O::I64Or
            | O::I64Xor
            | O::I64Shl
            | O::I64ShrS
            | O::I64ShrU
            | O::I32WrapI64
            | O::I64ExtendI32S
            | O::I64ExtendI32U
    )
}
