//! Copies the bodies of functions, with new indices.

use wasm_encoder::{
    CodeSection, Encode,
    reencode::{Reencode, utils},
};
use wasmparser::{FunctionBody, Operator};

use super::{error::Fault, relocate::Relocate};

/// Adds a function's body.
pub(super) fn add_body(
    code: &mut CodeSection,
    body: &FunctionBody<'_>,
    to: &mut Relocate<'_>,
) -> Result<(), Fault> {
    if to.places.only_functions_move {
        code.raw(&with_other_functions(body, to)?);
    } else {
        utils::parse_function_body(to, code, body.clone())?;
    }
    Ok(())
}

/// Returns the body's bytes, of which only instructions that name functions change. That is most of
/// the code of most modules, and several times as fast as encoding each instruction anew.
fn with_other_functions(body: &FunctionBody<'_>, to: &mut Relocate<'_>) -> Result<Vec<u8>, Fault> {
    let (bytes, begin) = (body.as_bytes(), body.range().start);
    let mut moved = Vec::with_capacity(bytes.len() + 16);
    let mut operators = body.get_operators_reader()?;
    let mut copied = 0;
    while !operators.eof() {
        let at = operators.original_position();
        let operator = operators.read()?;
        if matches!(
            operator,
            Operator::Call { .. } | Operator::ReturnCall { .. } | Operator::RefFunc { .. }
        ) {
            let at = at.saturating_sub(begin);
            moved.extend(bytes.get(copied..at).unwrap_or_default());
            to.instruction(operator)?.encode(&mut moved);
            copied = operators.original_position().saturating_sub(begin);
        }
    }
    moved.extend(bytes.get(copied..).unwrap_or_default());
    Ok(moved)
}
