//! Copies the bodies of functions, with new indices.

use wasm_encoder::{CodeSection, Encode, Function, reencode::Reencode};
use wasmparser::{FunctionBody, Operator};

use super::{
    error::Fault,
    inline::{Inlining, SmallFunctions},
    relocate::Relocate,
};

/// Adds a function's body, with small functions in place of calls to them. Returns `true` if labels have been
/// added.
pub(super) fn add_body(
    code: &mut CodeSection,
    body: &FunctionBody<'_>,
    params: usize,
    small: &SmallFunctions,
    to: &mut Relocate<'_>,
) -> Result<bool, Fault> {
    let mut locals = Vec::new();
    let mut number = u32::try_from(params).unwrap_or(u32::MAX);
    for local in body.get_locals_reader()? {
        let (count, ty) = local?;
        number = number.saturating_add(count);
        locals.push((count, to.val_type(ty)?));
    }
    let mut inlining = Inlining::new(small, number);
    let copied = copied(body, &mut inlining, to)?;
    let added = inlining.added.iter().map(|ty| (1, *ty));
    locals.extend(added);
    let mut function = Function::new(locals);
    function.raw(copied);
    code.function(&function);
    Ok(inlining.has_labels)
}

/// Returns the instructions. Of a unit of which nothing but functions moves, the bytes stay, except for
/// instructions that name functions. That is most of the code of most modules, and several times as fast as encoding
/// each instruction anew.
fn copied(
    body: &FunctionBody<'_>,
    inlining: &mut Inlining<'_>,
    to: &mut Relocate<'_>,
) -> Result<Vec<u8>, Fault> {
    let (bytes, begin) = (body.as_bytes(), body.range().start);
    let mut moved = Vec::with_capacity(bytes.len() + 16);
    let mut operators = body.get_operators_reader()?;
    let mut copied = operators.original_position().saturating_sub(begin);
    while !operators.eof() {
        let at = operators.original_position().saturating_sub(begin);
        let operator = operators.read()?;
        let callee = match operator {
            Operator::Call { function_index } => Some(to.function_index(function_index)?),
            Operator::ReturnCall { .. } | Operator::RefFunc { .. } => None,
            _ if to.places.only_functions_move => continue,
            _ => None,
        };
        moved.extend(bytes.get(copied..at).unwrap_or_default());
        copied = operators.original_position().saturating_sub(begin);
        if !callee.is_some_and(|callee| inlining.put(callee, &mut moved)) {
            to.instruction(operator)?.encode(&mut moved);
        }
    }
    moved.extend(bytes.get(copied..).unwrap_or_default());
    Ok(moved)
}
