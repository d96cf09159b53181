//! Gives what a unit refers to its index in the result.

use wasm_encoder::{
    Instruction,
    reencode::{Error, Reencode, utils},
};
use wasmparser::{ConstExpr, ExternalKind, Operator};

use super::{LinkError, spaces::Places};

pub(super) struct Relocate<'l> {
    pub(super) places: &'l Places<'l>,
}

impl Relocate<'_> {
    fn of(&self, kind: ExternalKind, index: u32) -> Result<u32, Error<LinkError>> {
        self.places.of(kind, index).map_err(Error::UserError)
    }
}

fn behind(first: u32, index: u32) -> Result<u32, Error<LinkError>> {
    first
        .checked_add(index)
        .ok_or(Error::UserError(LinkError::TooMany))
}

impl Reencode for Relocate<'_> {
    type Error = LinkError;

    fn type_index(&mut self, ty: u32) -> Result<u32, Error<LinkError>> {
        behind(self.places.first_type, ty)
    }

    fn element_index(&mut self, element: u32) -> Result<u32, Error<LinkError>> {
        behind(self.places.first_element, element)
    }

    fn data_index(&mut self, data: u32) -> Result<u32, Error<LinkError>> {
        behind(self.places.first_data, data)
    }

    fn function_index(&mut self, function: u32) -> Result<u32, Error<LinkError>> {
        self.of(ExternalKind::Func, function)
    }

    fn table_index(&mut self, table: u32) -> Result<u32, Error<LinkError>> {
        self.of(ExternalKind::Table, table)
    }

    fn memory_index(&mut self, memory: u32) -> Result<u32, Error<LinkError>> {
        self.of(ExternalKind::Memory, memory)
    }

    fn global_index(&mut self, global: u32) -> Result<u32, Error<LinkError>> {
        self.of(ExternalKind::Global, global)
    }

    fn tag_index(&mut self, tag: u32) -> Result<u32, Error<LinkError>> {
        self.of(ExternalKind::Tag, tag)
    }

    fn instruction<'a>(
        &mut self,
        operator: Operator<'a>,
    ) -> Result<Instruction<'a>, Error<LinkError>> {
        match (&operator, self.places.size) {
            (Operator::MemorySize { .. }, Some(size)) => Ok(Instruction::GlobalGet(size.global)),
            (Operator::MemoryGrow { .. }, Some(size)) => Ok(Instruction::Call(size.grow)),
            _ => utils::instruction(self, operator),
        }
    }

    fn const_expr(
        &mut self,
        expression: ConstExpr<'_>,
    ) -> Result<wasm_encoder::ConstExpr, Error<LinkError>> {
        for operator in expression.get_operators_reader() {
            if let Operator::GlobalGet {
                global_index: index,
            } = operator?
                && self
                    .places
                    .is_bound(ExternalKind::Global, index)
                    .map_err(Error::UserError)?
            {
                return Err(Error::UserError(LinkError::ConstantGlobal {
                    unit: self.places.unit().to_owned(),
                    index,
                }));
            }
        }
        utils::const_expr(self, expression)
    }
}
