//! Refuses modules that wasmi 2.0 gets dangerously wrong.

use thiserror::Error as ThisError;
use wasmparser::{MemArg, Operator, Parser, Payload};

/// Something in a module that wasmi 2.0 must not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ThisError)]
pub(crate) enum Defect {
    /// The interpreter goes on at a wild address after it
    /// (`hostile/engine_store_lane`).
    #[error(
        "wasmi cannot store a lane of 8 or 16 bits with an offset above 65535, or in another \
         memory than the first, as function body {body} does"
    )]
    StoreLane {
        /// Which of the module's own functions.
        body: usize,
    },
}

/// Looks for defects that endanger the host.
///
/// What does not parse is let through: wasmi refuses it.
pub(crate) fn check(binary: &[u8]) -> Result<(), Defect> {
    let mut body = 0;
    for payload in Parser::new(0).parse_all(binary) {
        let Ok(Payload::CodeSectionEntry(function)) = payload else {
            continue;
        };
        // Most functions have no vector instructions at all.
        if function.as_bytes().contains(&VECTOR_PREFIX)
            && let Ok(operators) = function.get_operators_reader()
            && operators
                .into_iter()
                .map_while(Result::ok)
                .any(|operator| is_wild_store(&operator))
        {
            return Err(Defect::StoreLane { body });
        }
        body += 1;
    }
    Ok(())
}

/// The byte that every vector instruction begins with.
const VECTOR_PREFIX: u8 = 0xfd;

const fn is_wild_store(operator: &Operator<'_>) -> bool {
    let (Operator::V128Store8Lane { memarg, .. } | Operator::V128Store16Lane { memarg, .. }) =
        operator
    else {
        return false;
    };
    let MemArg { offset, memory, .. } = memarg;
    *offset > 0xffff || *memory != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_store(store: &str) -> Result<(), Defect> {
        let text = format!(
            "(module (memory 1) (memory 1) (func) (func ({store} (i32.const 0) \
             (v128.const i64x2 0 0))))"
        );
        check(&wapc_host::module::binary(text.as_bytes()).unwrap())
    }

    #[test]
    fn lanes_are_stored_near_and_in_the_first_memory_only() {
        let wild = Err(Defect::StoreLane { body: 1 });
        for bits in [8, 16] {
            let store = |rest: &str| check_store(&format!("v128.store{bits}_lane {rest} 0"));
            assert_eq!(store("offset=65535"), Ok(()));
            assert_eq!(store("offset=65536"), wild);
            assert_eq!(store("1 offset=0"), wild);
        }
        assert_eq!(check_store("v128.store32_lane offset=65536 0"), Ok(()));
        assert_eq!(check_store("v128.store offset=65536"), Ok(()));
    }
}
