//! Units that are as new in each call of them by another unit, as commands are in a component's linker.
//!
//! A function gives such a unit its first state: globals, memories, tables, and what its start section does. Other
//! units call it before each function of the unit. Its segments are passive, so that they can be copied again.
//!
//! A memory does not shrink, and so its size is kept in a global: within it, growing is counting.

use std::collections::BTreeMap;

use wasm_encoder::{
    BlockType, Encode, Function, GlobalType, Instruction, ValType, reencode::Reencode,
};
use wasmparser::{
    ConstExpr, DataKind, ElementItems, ElementKind, ExternalKind, Operator, TableInit,
};

use super::{
    LinkError,
    error::Fault,
    relocate::Relocate,
    sections::Sections,
    spaces::{Size, Spaces},
    unit::Unit,
};

/// The functions that are made for such a unit, by their indices in the result.
pub(super) struct Renewal {
    unit: usize,
    function: u32,
    /// The memory's pages at first, and what counts them; `None` without a memory.
    size: Option<(u32, Size)>,
    /// The functions that others call, by those that they stand for, with the unit's index of the type.
    wrappers: BTreeMap<u32, (u32, u32)>,
}

impl Renewal {
    /// Reserves functions, and binds the imports of other units to them.
    pub(super) fn new(
        number: usize,
        units: &[Unit<'_>],
        spaces: &mut Spaces<'_>,
    ) -> Result<Self, Fault> {
        let (unit, places) = (units.get(number), spaces.units.get(number));
        let (Some(unit), Some(places)) = (unit, places) else {
            return Err(LinkError::NoUnit.into());
        };
        refuse_what_cannot_be_renewed(unit)?;
        let mut types = BTreeMap::new();
        for ((index, ..), ty) in unit.defined_functions().zip(&unit.functions) {
            types.insert(places.of(ExternalKind::Func, index)?, *ty);
        }
        let mut renewal = Self {
            unit: number,
            function: spaces.take_function()?,
            size: None,
            wrappers: BTreeMap::new(),
        };
        let mut memories = unit.memories.clone().into_iter().flatten();
        if let Some(memory) = memories.next() {
            let pages = u32::try_from(memory?.initial).map_err(|_| LinkError::TooMany)?;
            let size = Size {
                global: spaces.take_global()?,
                grow: spaces.take_function()?,
            };
            renewal.size = Some((pages, size));
            if let Some(places) = spaces.units.get_mut(number) {
                places.size = Some(size);
            }
        }
        let mut next = spaces.functions;
        for (other, places) in spaces.units.iter_mut().enumerate() {
            if other == number {
                continue;
            }
            for function in places.bound_functions() {
                let Some(ty) = types.get(function) else {
                    continue;
                };
                let wrapper = renewal.wrappers.entry(*function).or_insert_with(|| {
                    next += 1;
                    (next - 1, *ty)
                });
                *function = wrapper.0;
            }
        }
        spaces.functions = next;
        Ok(renewal)
    }

    /// Adds the functions.
    pub(super) fn add(
        &self,
        units: &[Unit<'_>],
        spaces: &Spaces<'_>,
        out: &mut Sections,
    ) -> Result<(), Fault> {
        let (unit, places) = (units.get(self.unit), spaces.units.get(self.unit));
        let (Some(unit), Some(places)) = (unit, places) else {
            return Err(LinkError::NoUnit.into());
        };
        out.functions.function(spaces.types);
        let mut renew = Function::new([]);
        let mut code = Vec::new();
        if let Some((pages, size)) = self.size {
            Instruction::I32Const(pages.cast_signed()).encode(&mut code);
            Instruction::GlobalSet(size.global).encode(&mut code);
        }
        renewing(unit, &mut Relocate { places }, &mut code)?;
        renew.raw(code);
        out.code.function(&renew);
        if let Some((pages, size)) = self.size {
            let memory = places.of(ExternalKind::Memory, unit.imported(ExternalKind::Memory))?;
            add_growing(spaces, pages, size.global, memory, out);
        }
        // In the order of their indices.
        let mut wrappers: Vec<_> = self.wrappers.iter().collect();
        wrappers.sort_by_key(|(_, (wrapper, _))| *wrapper);
        for (function, (_, ty)) in wrappers {
            out.functions.function(Relocate { places }.type_index(*ty)?);
            let mut wrapper = Function::new([]);
            wrapper.instruction(&Instruction::Call(self.function));
            let params = unit.type_at(*ty).map_or(0, |ty| ty.params().len());
            for param in 0..u32::try_from(params).unwrap_or(u32::MAX) {
                wrapper.instruction(&Instruction::LocalGet(param));
            }
            wrapper.instruction(&Instruction::Call(*function));
            wrapper.instruction(&Instruction::End);
            out.code.function(&wrapper);
        }
        Ok(())
    }
}

/// Adds the types of the functions: `() -> ()`, and that of growing a memory.
pub(super) fn add_types(out: &mut Sections) {
    out.types.ty().function([], []);
    out.types.ty().function([ValType::I32], [ValType::I32]);
}

/// Adds the global that counts pages, and the function that grows the memory where it has fewer.
fn add_growing(spaces: &Spaces<'_>, pages: u32, global: u32, memory: u32, out: &mut Sections) {
    use Instruction as I;

    out.globals.global(
        GlobalType {
            val_type: ValType::I32,
            mutable: true,
            shared: false,
        },
        &wasm_encoder::ConstExpr::i32_const(pages.cast_signed()),
    );
    out.functions.function(spaces.types + 1);
    let (asked, before, after) = (0, 1, 2);
    let mut grow = Function::new([(1, ValType::I32), (1, ValType::I64)]);
    for instruction in [
        I::GlobalGet(global),
        I::LocalTee(before),
        I::I64ExtendI32U,
        I::LocalGet(asked),
        I::I64ExtendI32U,
        I::I64Add,
        I::LocalTee(after),
        // More than a memory can have.
        I::I64Const(65_536),
        I::I64GtU,
        I::If(BlockType::Empty),
        I::I32Const(-1),
        I::Return,
        I::End,
        I::LocalGet(after),
        I::MemorySize(memory),
        I::I64ExtendI32U,
        I::I64GtU,
        I::If(BlockType::Empty),
        I::LocalGet(after),
        I::I32WrapI64,
        I::MemorySize(memory),
        I::I32Sub,
        I::MemoryGrow(memory),
        I::I32Const(-1),
        I::I32Eq,
        I::If(BlockType::Empty),
        I::I32Const(-1),
        I::Return,
        I::End,
        I::End,
        I::LocalGet(after),
        I::I32WrapI64,
        I::GlobalSet(global),
        I::LocalGet(before),
        I::End,
    ] {
        grow.instruction(&instruction);
    }
    out.code.function(&grow);
}

/// Adds the segments of a unit as passive ones.
pub(super) fn add_segments(
    unit: &Unit<'_>,
    to: &mut Relocate<'_>,
    out: &mut Sections,
) -> Result<(), Fault> {
    for element in unit.elements.clone().into_iter().flatten() {
        let element = element?;
        let items = to.element_items(element.items)?;
        match element.kind {
            ElementKind::Declared => out.elements.declared(items),
            _ => out.elements.passive(items),
        };
    }
    for data in unit.data.clone().into_iter().flatten() {
        out.data.passive(data?.data.iter().copied());
    }
    Ok(())
}

fn refuse_what_cannot_be_renewed(unit: &Unit<'_>) -> Result<(), Fault> {
    let refused = |what: &str| {
        Err(LinkError::Unsupported(format!("{}, which is a command, {what}", unit.name())).into())
    };
    for (number, memory) in unit.memories.clone().into_iter().flatten().enumerate() {
        if memory?.memory64 || number > 0 || unit.imported(ExternalKind::Memory) > 0 {
            return refused("has several memories, or one of 64 bits");
        }
    }
    for table in unit.tables.clone().into_iter().flatten() {
        if table?.ty.table64 {
            return refused("has a table of 64 bits");
        }
    }
    for body in &unit.bodies {
        for operator in body.get_operators_reader()? {
            if let Operator::DataDrop { .. } | Operator::ElemDrop { .. } = operator? {
                return refused("drops a segment");
            }
        }
    }
    Ok(())
}

/// Returns the code that gives a unit its first state.
fn renewing(unit: &Unit<'_>, to: &mut Relocate<'_>, code: &mut Vec<u8>) -> Result<(), Fault> {
    let mut push = |instruction: Instruction<'_>| instruction.encode(code);
    let globals = unit.globals.clone().into_iter().flatten();
    for (global, index) in globals.zip(unit.imported(ExternalKind::Global)..) {
        let global = global?;
        if global.ty.mutable {
            expression(&global.init_expr, to, &mut push)?;
            push(Instruction::GlobalSet(to.global_index(index)?));
        }
    }
    let memories = unit.memories.clone().into_iter().flatten();
    for (memory, index) in memories.zip(unit.imported(ExternalKind::Memory)..) {
        memory?;
        let memory = to.memory_index(index)?;
        push(Instruction::I32Const(0));
        push(Instruction::I32Const(0));
        push(Instruction::MemorySize(memory));
        push(Instruction::I32Const(16));
        push(Instruction::I32Shl);
        push(Instruction::MemoryFill(memory));
    }
    let tables = unit.tables.clone().into_iter().flatten();
    for (table, index) in tables.zip(unit.imported(ExternalKind::Table)..) {
        let (table, index) = (table?, to.table_index(index)?);
        push(Instruction::I32Const(0));
        match &table.init {
            TableInit::RefNull => {
                push(Instruction::RefNull(
                    to.heap_type(table.ty.element_type.heap_type())?,
                ));
            }
            TableInit::Expr(init) => expression(init, to, &mut push)?,
        }
        push(Instruction::TableSize(index));
        push(Instruction::TableFill(index));
    }
    for (data, index) in unit.data.clone().into_iter().flatten().zip(0..) {
        let data = data?;
        if let DataKind::Active {
            memory_index,
            offset_expr,
        } = &data.kind
        {
            expression(offset_expr, to, &mut push)?;
            push(Instruction::I32Const(0));
            push(Instruction::I32Const(length(data.data.len())?));
            push(Instruction::MemoryInit {
                mem: to.memory_index(*memory_index)?,
                data_index: to.data_index(index)?,
            });
        }
    }
    for (element, index) in unit.elements.clone().into_iter().flatten().zip(0..) {
        let element = element?;
        if let ElementKind::Active {
            table_index,
            offset_expr,
        } = &element.kind
        {
            let items = match &element.items {
                ElementItems::Functions(items) => items.count(),
                ElementItems::Expressions(_, items) => items.count(),
            };
            expression(offset_expr, to, &mut push)?;
            push(Instruction::I32Const(0));
            push(Instruction::I32Const(items.cast_signed()));
            push(Instruction::TableInit {
                elem_index: to.element_index(index)?,
                table: to.table_index(table_index.unwrap_or(0))?,
            });
        }
    }
    if let Some(start) = unit.start {
        push(Instruction::Call(to.function_index(start)?));
    }
    push(Instruction::End);
    Ok(())
}

fn expression(
    expression: &ConstExpr<'_>,
    to: &mut Relocate<'_>,
    push: &mut impl FnMut(Instruction<'_>),
) -> Result<(), Fault> {
    for operator in expression.get_operators_reader() {
        match operator? {
            Operator::End => {}
            operator => push(to.instruction(operator)?),
        }
    }
    Ok(())
}

fn length(bytes: usize) -> Result<i32, LinkError> {
    let length = u32::try_from(bytes).map_err(|_| LinkError::TooMany)?;
    Ok(length.cast_signed())
}
