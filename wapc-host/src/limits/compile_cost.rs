//! An estimate of the processor time that compiling a module may take.
//!
//! Cranelift is the reference: it costs far more than an interpreter's translation, and some of its
//! analyses take the square of a function's size. The constants are upper bounds over the modules of
//! `dev/fuzz` (`fuzz bombs`), measured on one core of a server of 2024; ordinary code takes about a fifth.

use wasmparser::{BlockType, CompositeInnerType, FunctionBody, Operator, Parser, Payload, TypeRef};

/// Nanoseconds for each function.
const FUNCTION: u64 = 60_000;

/// For each type of function, which has code of its own to be called by the host and from tables.
const TYPE: u64 = 350_000;

/// For each parameter of a function.
const PARAMETER: u64 = 250;

/// For each instruction.
const INSTRUCTION: u64 = 5_000;

/// For each call.
const CALL: u64 = 8_000;

/// For each argument and result of a call, and each value that a branch carries.
const ARGUMENT: u64 = 5_000;

/// For each target of a branch table.
const TARGET: u64 = 4_000;

/// For each parameter and result of a block: it takes 4 KiB of memory too.
const BLOCK_VALUE: u64 = 30_000;

/// For each pair of blocks: analyses follow chains of them.
const BLOCK_PAIR: u64 = 5;

/// For each pair of loops.
const LOOP_PAIR: u64 = 280;

/// For each block and each value of one.
const BLOCK_BY_VALUE: u64 = 10;

/// For each block and each local.
const BLOCK_BY_LOCAL: u64 = 75;

/// The types of a module's functions: the numbers of their parameters and results.
#[derive(Default)]
pub(super) struct Signatures {
    types: Vec<(u64, u64)>,
    /// The type of each function.
    functions: Vec<u32>,
    imported: usize,
}

impl Signatures {
    /// Reads a section that is part of them.
    pub(super) fn read(&mut self, payload: Payload<'_>) {
        match payload {
            Payload::TypeSection(types) => {
                let groups = types.into_iter().map_while(Result::ok);
                let types = groups.flat_map(wasmparser::RecGroup::into_types);
                self.types
                    .extend(types.map(|ty| match ty.composite_type.inner {
                        CompositeInnerType::Func(ty) => {
                            (number(ty.params().len()), number(ty.results().len()))
                        }
                        _ => (0, 0),
                    }));
            }
            Payload::ImportSection(imports) => {
                for import in imports.into_imports().map_while(Result::ok) {
                    if let TypeRef::Func(ty) = import.ty {
                        self.functions.push(ty);
                        self.imported += 1;
                    }
                }
            }
            Payload::FunctionSection(functions) => {
                self.functions
                    .extend(functions.into_iter().map_while(Result::ok));
            }
            _ => {}
        }
    }

    /// Returns the number of imported functions, which come before the others.
    pub(super) const fn imported(&self) -> usize {
        self.imported
    }

    /// Returns the cost of all that is not in a function.
    pub(super) fn cost(&self) -> u64 {
        number(self.types.len()).saturating_mul(TYPE)
    }

    fn of_type(&self, ty: u32) -> (u64, u64) {
        let ty = usize::try_from(ty).ok();
        ty.and_then(|ty| self.types.get(ty))
            .copied()
            .unwrap_or_default()
    }

    fn of_function(&self, function: usize) -> (u64, u64) {
        let ty = self.functions.get(function).copied();
        ty.map(|ty| self.of_type(ty)).unwrap_or_default()
    }

    fn of_block(&self, block: BlockType) -> (u64, u64) {
        match block {
            BlockType::Empty => (0, 0),
            BlockType::Type(_) => (0, 1),
            BlockType::FuncType(ty) => self.of_type(ty),
        }
    }
}

/// Estimates the time of one function, in nanoseconds. Returns the targets of its largest branch
/// table too. Code that does not decode ends the estimate.
pub(super) fn of_function(
    signatures: &Signatures,
    function: usize,
    body: &FunctionBody<'_>,
    locals: usize,
) -> (u64, usize) {
    let mut found = Found::default();
    let (parameters, results) = signatures.of_function(function);
    // The number of values that a branch to each open block carries.
    let mut labels = vec![results];
    if let Ok(operators) = body.get_operators_reader() {
        for operator in operators.into_iter().map_while(Result::ok) {
            found.add(signatures, &mut labels, &operator);
        }
    }
    let locals = number(locals).saturating_add(parameters);
    let terms = [
        (found.instructions, INSTRUCTION),
        (found.calls, CALL),
        (found.arguments, ARGUMENT),
        (found.targets, TARGET),
        (found.block_values, BLOCK_VALUE),
        (parameters, PARAMETER),
        (found.blocks.saturating_mul(found.blocks), BLOCK_PAIR),
        (found.loops.saturating_mul(found.loops), LOOP_PAIR),
        (
            found.blocks.saturating_mul(found.block_values),
            BLOCK_BY_VALUE,
        ),
        (found.blocks.saturating_mul(locals), BLOCK_BY_LOCAL),
    ];
    let cost = terms.iter().fold(FUNCTION, |sum, (count, each)| {
        sum.saturating_add(count.saturating_mul(*each))
    });
    (
        cost,
        usize::try_from(found.largest_table).unwrap_or(usize::MAX),
    )
}

/// The parts of a function's code that cost.
#[derive(Default)]
struct Found {
    instructions: u64,
    blocks: u64,
    loops: u64,
    /// Parameters and results of blocks.
    block_values: u64,
    calls: u64,
    arguments: u64,
    targets: u64,
    /// The targets of the largest branch table.
    largest_table: u32,
}

impl Found {
    fn add(&mut self, signatures: &Signatures, labels: &mut Vec<u64>, operator: &Operator<'_>) {
        self.instructions += 1;
        match operator {
            Operator::Block { blockty } | Operator::If { blockty } => {
                let (_, results) = self.begin(signatures, *blockty);
                labels.push(results);
            }
            Operator::TryTable { try_table } => {
                let (_, results) = self.begin(signatures, try_table.ty);
                self.targets += number(try_table.catches.len());
                labels.push(results);
            }
            Operator::Loop { blockty } => {
                let (parameters, _) = self.begin(signatures, *blockty);
                self.loops += 1;
                labels.push(parameters);
            }
            Operator::Else => self.blocks += 1,
            Operator::End => {
                labels.pop();
            }
            Operator::Br { relative_depth }
            | Operator::BrIf { relative_depth }
            | Operator::BrOnNull { relative_depth }
            | Operator::BrOnNonNull { relative_depth }
            | Operator::BrOnCast { relative_depth, .. }
            | Operator::BrOnCastFail { relative_depth, .. } => {
                self.branch(labels, *relative_depth);
            }
            Operator::BrTable { targets } => {
                self.targets += u64::from(targets.len()) + 1;
                self.largest_table = self.largest_table.max(targets.len());
                for target in targets.targets().map_while(Result::ok) {
                    self.branch(labels, target);
                }
                self.branch(labels, targets.default());
            }
            Operator::Call { function_index } | Operator::ReturnCall { function_index } => {
                let function = usize::try_from(*function_index).unwrap_or(usize::MAX);
                self.call(signatures.of_function(function));
            }
            Operator::CallIndirect { type_index, .. }
            | Operator::ReturnCallIndirect { type_index, .. }
            | Operator::CallRef { type_index }
            | Operator::ReturnCallRef { type_index } => {
                self.call(signatures.of_type(*type_index));
            }
            _ => {}
        }
    }

    fn begin(&mut self, signatures: &Signatures, block: BlockType) -> (u64, u64) {
        let (parameters, results) = signatures.of_block(block);
        self.blocks += 1;
        self.block_values = self
            .block_values
            .saturating_add(parameters.saturating_add(results));
        (parameters, results)
    }

    fn branch(&mut self, labels: &[u64], depth: u32) {
        let depth = usize::try_from(depth).unwrap_or(usize::MAX);
        let values = labels.len().checked_sub(depth.saturating_add(1));
        let values = values.and_then(|index| labels.get(index)).copied();
        self.arguments = self.arguments.saturating_add(values.unwrap_or_default());
    }

    fn call(&mut self, (arguments, results): (u64, u64)) {
        self.calls += 1;
        self.arguments = self
            .arguments
            .saturating_add(arguments.saturating_add(results));
    }
}

fn number(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

/// Estimates the time of a whole module, in nanoseconds.
pub(super) fn of_module(binary: &[u8], locals: impl Fn(&FunctionBody<'_>) -> usize) -> u64 {
    let mut signatures = Signatures::default();
    let mut function = None;
    let mut sum = 0_u64;
    for payload in Parser::new(0).parse_all(binary).map_while(Result::ok) {
        match payload {
            Payload::CodeSectionEntry(body) => {
                let number = function.get_or_insert(signatures.imported());
                let (cost, _) = of_function(&signatures, *number, &body, locals(&body));
                sum = sum.saturating_add(cost);
                *number += 1;
            }
            other => signatures.read(other),
        }
    }
    sum.saturating_add(signatures.cost())
}
