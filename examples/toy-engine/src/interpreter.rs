//! The engine itself: a loop over instructions, with a stack of its own.
//!
//! This file and the folder below it stand for the engine that a real provider
//! takes from elsewhere.
//!
//! Validated code cannot pop from an empty stack or leave a function's code. The
//! interpreter does not rely on it: it ends the guest by an error then.

use wapc_host::error::{BoxError, EngineError, Trap, TrapCode};

use self::{
    compile::Code,
    function::Function,
    instruction::{Branch, Instruction, index},
};
use crate::{linker::Data, metering::Meter};

pub(crate) mod compile;
mod function;
pub(crate) mod instruction;

/// A call of guest functions from the host.
pub(crate) struct Interpreter<'c> {
    code: &'c Code,
    data: &'c mut Data,
    meter: &'c mut Meter,
    /// The locals and operands of all functions that run.
    values: Vec<i32>,
    /// The callers of the function that runs.
    callers: Vec<Frame<'c>>,
}

/// A function that runs.
struct Frame<'c> {
    function: &'c Function,
    /// The position of the next instruction.
    next: usize,
    /// The height of `values` below the function's parameters.
    base: usize,
}

/// The calls in calls that a guest may make, and the values that they may have. The
/// stack of the host's thread does not grow with them.
const MAX_CALLERS: usize = 10_000;
const MAX_VALUES: usize = 1_000_000;

/// The locals that one unit of fuel clears.
const LOCALS_PER_FUEL: usize = 16;

impl<'c> Interpreter<'c> {
    pub(crate) fn new(code: &'c Code, data: &'c mut Data, meter: &'c mut Meter) -> Self {
        Self {
            code,
            data,
            meter,
            values: vec![],
            callers: vec![],
        }
    }

    /// Calls the exported function `name`.
    pub(crate) fn call_export(
        self,
        name: &str,
        arguments: &[i32],
    ) -> Result<Option<i32>, EngineError> {
        let function = self.code.exports.get(name).copied();
        self.call(function.ok_or_else(broken)?, arguments)
    }

    /// Calls a function by its index.
    pub(crate) fn call(
        mut self,
        function: usize,
        arguments: &[i32],
    ) -> Result<Option<i32>, EngineError> {
        self.values.extend_from_slice(arguments);
        if let Some(frame) = self.enter(function)? {
            self.run(frame)?;
        }
        Ok(self.values.pop())
    }

    fn run(&mut self, mut frame: Frame<'c>) -> Result<(), EngineError> {
        loop {
            self.meter.charge(1, &self.data.state)?;
            let instruction = frame.function.instructions.get(frame.next);
            frame.next += 1;
            match instruction.ok_or_else(broken)? {
                Instruction::Call(function) => {
                    if let Some(callee) = self.enter(*function)? {
                        self.callers.push(frame);
                        frame = callee;
                    }
                }
                Instruction::Return => {
                    let returns_value = frame.function.signature.returns_value;
                    self.unwind(frame.base, returns_value)?;
                    match self.callers.pop() {
                        Some(caller) => frame = caller,
                        None => return Ok(()),
                    }
                }
                Instruction::Branch(branch) => self.jump(&mut frame, branch)?,
                Instruction::BranchIf(branch) => {
                    if self.pop()? != 0 {
                        self.jump(&mut frame, branch)?;
                    }
                }
                Instruction::BranchUnless(branch) => {
                    if self.pop()? == 0 {
                        self.jump(&mut frame, branch)?;
                    }
                }
                Instruction::LocalGet(local) => {
                    let value = *self.local(&frame, *local)?;
                    self.values.push(value);
                }
                Instruction::LocalSet(local) => {
                    let value = self.pop()?;
                    *self.local(&frame, *local)? = value;
                }
                Instruction::LocalTee(local) => {
                    let value = self.values.last().copied();
                    *self.local(&frame, *local)? = value.ok_or_else(broken)?;
                }
                other => self.compute(other)?,
            }
        }
    }

    /// Begins a call: returns the frame of the guest's own function, or calls the
    /// host's.
    fn enter(&mut self, function: usize) -> Result<Option<Frame<'c>>, EngineError> {
        if let Some((import, signature)) = self.code.imports.get(function) {
            let base = self.below(signature.parameters)?;
            let arguments = self.values.get(base..).unwrap_or_default();
            let result = import.call(self.data, arguments, signature.returns_value)?;
            self.values.truncate(base);
            self.values.extend(result);
            return Ok(None);
        }
        let function = function.checked_sub(self.code.imports.len());
        let function = function.and_then(|function| self.code.functions.get(function));
        let function = function.ok_or_else(broken)?;
        let base = self.below(function.signature.parameters)?;
        let height = base.saturating_add(function.locals);
        if self.callers.len() >= MAX_CALLERS || height > MAX_VALUES {
            return Err(trap(TrapCode::StackOverflow));
        }
        let fuel = u64::try_from(function.locals / LOCALS_PER_FUEL).unwrap_or(u64::MAX);
        self.meter.charge(fuel, &self.data.state)?;
        self.values.resize(height, 0);
        Ok(Some(Frame {
            function,
            next: 0,
            base,
        }))
    }

    /// Executes an instruction that stays in its function and uses no locals.
    fn compute(&mut self, instruction: &Instruction) -> Result<(), EngineError> {
        match instruction {
            Instruction::Constant(value) => self.values.push(*value),
            Instruction::Drop => drop(self.pop()?),
            Instruction::Select => {
                let (condition, second, first) = (self.pop()?, self.pop()?, self.pop()?);
                self.values
                    .push(if condition == 0 { second } else { first });
            }
            Instruction::GlobalGet(global) => {
                let value = self.data.globals.get(*global).copied();
                self.values.push(value.ok_or_else(broken)?);
            }
            Instruction::GlobalSet(global) => {
                let value = self.pop()?;
                *self.data.globals.get_mut(*global).ok_or_else(broken)? = value;
            }
            Instruction::Unary(operation) => {
                let operand = self.pop()?;
                self.values.push(operation(operand));
            }
            Instruction::Binary(operation) => {
                let (second, first) = (self.pop()?, self.pop()?);
                self.values.push(operation(first, second).map_err(trap)?);
            }
            Instruction::Load { offset, read } => {
                let address = self.pop_address()?.saturating_add(*offset);
                let bytes = self.data.memory.get(address..);
                let value = bytes.and_then(read);
                let value = value.ok_or_else(|| trap(TrapCode::MemoryOutOfBounds))?;
                self.values.push(value);
            }
            Instruction::Store { offset, bytes } => {
                let value = self.pop()?.to_le_bytes();
                let address = self.pop_address()?.saturating_add(*offset);
                let rest = self.data.memory.get_mut(address..);
                let target = rest.and_then(|rest| rest.get_mut(..*bytes));
                let target = target.ok_or_else(|| trap(TrapCode::MemoryOutOfBounds))?;
                for (target, byte) in target.iter_mut().zip(value) {
                    *target = byte;
                }
            }
            Instruction::MemorySize => {
                let pages = i32::try_from(self.data.pages());
                self.values.push(pages.map_err(|_| broken())?);
            }
            Instruction::MemoryGrow => {
                let pages = self.pop_address()?;
                let before = self.data.grow(pages).map(i32::try_from);
                self.values.push(before.and_then(Result::ok).unwrap_or(-1));
            }
            Instruction::Unreachable => return Err(trap(TrapCode::Unreachable)),
            _ => return Err(broken()),
        }
        Ok(())
    }

    fn jump(&mut self, frame: &mut Frame<'c>, branch: &Branch) -> Result<(), EngineError> {
        frame.next = branch.target;
        self.unwind(frame.base.saturating_add(branch.height), branch.keeps_value)
    }

    /// Drops all values above `height`, but for the topmost one if it is kept.
    fn unwind(&mut self, height: usize, keeps_value: bool) -> Result<(), EngineError> {
        let kept = if keeps_value { Some(self.pop()?) } else { None };
        self.values.truncate(height);
        self.values.extend(kept);
        Ok(())
    }

    fn pop(&mut self) -> Result<i32, EngineError> {
        self.values.pop().ok_or_else(broken)
    }

    fn pop_address(&mut self) -> Result<usize, EngineError> {
        self.pop().map(|number| index(number.cast_unsigned()))
    }

    fn local(&mut self, frame: &Frame<'c>, local: usize) -> Result<&mut i32, EngineError> {
        let value = self.values.get_mut(frame.base.saturating_add(local));
        value.ok_or_else(broken)
    }

    /// Returns the height of the stack below its topmost `count` values.
    fn below(&self, count: usize) -> Result<usize, EngineError> {
        self.values.len().checked_sub(count).ok_or_else(broken)
    }
}

/// Returns the error of a guest that trapped.
#[cold]
pub(crate) fn trap(code: TrapCode) -> EngineError {
    Trap::new(code, vec![]).into()
}

/// Returns the error for code that the validator would not have let through.
#[cold]
pub(crate) fn broken() -> EngineError {
    EngineError::Other(BoxError::from(
        "the interpreter does not agree with the validator",
    ))
}
