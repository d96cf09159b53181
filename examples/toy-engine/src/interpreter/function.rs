//! The translation of one function: structured control becomes jumps.
//!
//! `wasmparser` validates each operator first, and knows the height of the stack.

use wapc_host::error::BoxError;
use wasmparser::{
    BlockType, FuncToValidate, FuncValidator, FuncValidatorAllocations, FunctionBody, Operator,
    ValType, ValidatorResources,
};

use super::instruction::{Branch, Instruction, index};

/// A function of the guest's own.
pub(crate) struct Function {
    pub(crate) signature: Signature,
    /// The number of locals, parameters included.
    pub(crate) locals: usize,
    pub(crate) instructions: Vec<Instruction>,
}

/// A function's type: the interpreter has values of one type only.
#[derive(Clone, Copy)]
pub(crate) struct Signature {
    pub(crate) parameters: usize,
    pub(crate) returns_value: bool,
}

impl Function {
    /// Validates and translates a body.
    pub(crate) fn compile(
        function: FuncToValidate<ValidatorResources>,
        body: &FunctionBody<'_>,
        signature: Signature,
    ) -> Result<Self, BoxError> {
        let mut validator = function.into_validator(FuncValidatorAllocations::default());
        validator.read_locals(&mut body.get_binary_reader())?;
        for locals in body.get_locals_reader()? {
            only_i32(locals?.1)?;
        }
        let locals = index(validator.len_locals());
        let mut translation = Translation::new(locals, signature);
        let mut operators = body.get_operators_reader()?;
        while !operators.eof() {
            let (operator, offset) = operators.read_with_offset()?;
            validator.op(offset, &operator)?;
            translation.add(&operator, &validator)?;
        }
        operators.finish()?;
        Ok(Self {
            signature,
            locals,
            instructions: translation.instructions,
        })
    }
}

/// Refuses values that the interpreter does not have.
pub(crate) fn only_i32(value_type: ValType) -> Result<(), BoxError> {
    match value_type {
        ValType::I32 => Ok(()),
        other => Err(format!("the toy engine has no values of the type {other}").into()),
    }
}

/// The instructions so far, and the blocks that are open, the function's own first.
struct Translation {
    locals: usize,
    instructions: Vec<Instruction>,
    blocks: Vec<Block>,
}

struct Block {
    /// The height of the function's values below the block.
    height: usize,
    returns_value: bool,
    /// The position that a branch to a loop goes to.
    start: Option<usize>,
    /// The jump over the first part of an `if`.
    skip: Option<usize>,
    /// The jumps to the end, which get their target there.
    exits: Vec<usize>,
}

impl Translation {
    fn new(locals: usize, signature: Signature) -> Self {
        let function = Block {
            height: locals,
            returns_value: signature.returns_value,
            start: None,
            skip: None,
            exits: vec![],
        };
        Self {
            locals,
            instructions: vec![],
            blocks: vec![function],
        }
    }

    fn add(
        &mut self,
        operator: &Operator<'_>,
        validator: &FuncValidator<ValidatorResources>,
    ) -> Result<(), BoxError> {
        let here = self.instructions.len();
        let height = self
            .locals
            .saturating_add(index(validator.operand_stack_height()));
        match *operator {
            Operator::Nop => {}
            Operator::Block { blockty } => self.open(height, blockty, None, None)?,
            Operator::Loop { blockty } => self.open(height, blockty, Some(here), None)?,
            Operator::If { blockty } => {
                self.open(height, blockty, None, Some(here))?;
                let branch = Branch::unfinished(height, false);
                self.instructions.push(Instruction::BranchUnless(branch));
            }
            Operator::Else => {
                let exit = self.branch(0)?;
                self.instructions.push(Instruction::Branch(exit));
                let skip = self.block(0)?.skip.take();
                self.land(skip);
            }
            Operator::End => {
                let block = self.blocks.pop().ok_or("an `end` without a block")?;
                self.land(block.skip.into_iter().chain(block.exits));
                if self.blocks.is_empty() {
                    self.instructions.push(Instruction::Return);
                }
            }
            Operator::Br { relative_depth } => {
                let branch = self.branch(relative_depth)?;
                self.instructions.push(Instruction::Branch(branch));
            }
            Operator::BrIf { relative_depth } => {
                let branch = self.branch(relative_depth)?;
                self.instructions.push(Instruction::BranchIf(branch));
            }
            _ => {
                let instruction = Instruction::new(operator)
                    .ok_or_else(|| format!("the toy engine does not implement {operator:?}"))?;
                self.instructions.push(instruction);
            }
        }
        Ok(())
    }

    fn open(
        &mut self,
        height: usize,
        block_type: BlockType,
        start: Option<usize>,
        skip: Option<usize>,
    ) -> Result<(), BoxError> {
        let returns_value = match block_type {
            BlockType::Empty => false,
            BlockType::Type(value_type) => only_i32(value_type).map(|()| true)?,
            BlockType::FuncType(_) => return Err("the toy engine has no multi-value".into()),
        };
        self.blocks.push(Block {
            height,
            returns_value,
            start,
            skip,
            exits: vec![],
        });
        Ok(())
    }

    fn block(&mut self, depth: u32) -> Result<&mut Block, BoxError> {
        let mut blocks = self.blocks.iter_mut().rev();
        Ok(blocks.nth(index(depth)).ok_or("a branch without a block")?)
    }

    /// Returns the jump to a block: to the start of a loop, or to the end of another
    /// one. The next instruction has to be this jump.
    fn branch(&mut self, depth: u32) -> Result<Branch, BoxError> {
        let here = self.instructions.len();
        let block = self.block(depth)?;
        Ok(match block.start {
            Some(target) => Branch {
                target,
                height: block.height,
                keeps_value: false,
            },
            None => {
                block.exits.push(here);
                Branch::unfinished(block.height, block.returns_value)
            }
        })
    }

    /// Makes the present position the target of these jumps.
    fn land(&mut self, jumps: impl IntoIterator<Item = usize>) {
        let here = self.instructions.len();
        for jump in jumps {
            if let Some(
                Instruction::Branch(branch)
                | Instruction::BranchIf(branch)
                | Instruction::BranchUnless(branch),
            ) = self.instructions.get_mut(jump)
            {
                branch.target = here;
            }
        }
    }
}

impl Branch {
    /// A jump whose target comes later.
    const fn unfinished(height: usize, keeps_value: bool) -> Self {
        Self {
            target: usize::MAX,
            height,
            keeps_value,
        }
    }
}
