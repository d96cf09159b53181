//! Limits on the cost of compiling a module.

use thiserror::Error as ThisError;
use wasmparser::{FunctionBody, Operator, Parser, Payload};

/// Limits on the cost of compiling a module.
///
/// A provider checks them before it compiles, since nothing can interrupt a
/// compiler. The time for one function grows faster than the function:
/// Cranelift took 13 s for 60 KB of nested loops, 20 s for 300 KB of nested
/// blocks, over a minute for 15 KB of loops over many locals, and 55 s and
/// 3.7 GiB for 7 MB of straight code. The defaults refuse such modules and
/// accept the output of common compilers.
///
/// The total over all functions is bounded only by
/// [`max_bytes`](ModuleLimits::max_bytes): compile untrusted modules on a
/// thread that you can afford to block.
///
/// ```
/// use wapc_host::{ModuleLimits, error::ModuleLimitError};
///
/// let limits = ModuleLimits::default().max_bytes(1024);
/// let refused = limits.check(&[0; 2000]);
/// assert_eq!(refused, Err(ModuleLimitError::Bytes { bytes: 2000, limit: 1024 }));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ModuleLimits {
    /// Bytes of the binary. Default: 128 MiB.
    pub max_bytes: usize,
    /// Bytes of one function's body. Default: 1 MiB.
    pub max_function_bytes: usize,
    /// Nesting depth of the blocks of one function, loops and ifs included.
    /// Default: 20,000.
    pub max_block_depth: usize,
    /// Nesting depth of the loops of one function. Default: 4,000.
    pub max_loop_depth: usize,
    /// Number of loops times number of locals of one function. Default:
    /// 250,000.
    pub max_loops_by_locals: usize,
}

impl Default for ModuleLimits {
    fn default() -> Self {
        Self {
            max_bytes: 128 << 20,
            max_function_bytes: 1 << 20,
            max_block_depth: 20_000,
            max_loop_depth: 4_000,
            max_loops_by_locals: 250_000,
        }
    }
}

impl ModuleLimits {
    /// Returns settings without any limit, for modules that are trusted like
    /// the program itself.
    #[must_use]
    pub const fn unlimited() -> Self {
        Self {
            max_bytes: usize::MAX,
            max_function_bytes: usize::MAX,
            max_block_depth: usize::MAX,
            max_loop_depth: usize::MAX,
            max_loops_by_locals: usize::MAX,
        }
    }

    /// Sets [`max_bytes`](Self::max_bytes).
    #[must_use]
    pub const fn max_bytes(mut self, bytes: usize) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// Sets [`max_function_bytes`](Self::max_function_bytes).
    #[must_use]
    pub const fn max_function_bytes(mut self, bytes: usize) -> Self {
        self.max_function_bytes = bytes;
        self
    }

    /// Sets [`max_block_depth`](Self::max_block_depth).
    #[must_use]
    pub const fn max_block_depth(mut self, depth: usize) -> Self {
        self.max_block_depth = depth;
        self
    }

    /// Sets [`max_loop_depth`](Self::max_loop_depth).
    #[must_use]
    pub const fn max_loop_depth(mut self, depth: usize) -> Self {
        self.max_loop_depth = depth;
        self
    }

    /// Sets [`max_loops_by_locals`](Self::max_loops_by_locals).
    #[must_use]
    pub const fn max_loops_by_locals(mut self, product: usize) -> Self {
        self.max_loops_by_locals = product;
        self
    }

    /// Checks a binary. An engine calls this before it compiles.
    ///
    /// A binary that does not parse passes, and the engine reports the error.
    /// Most functions are too short to exceed a limit and are not decoded.
    ///
    /// # Errors
    ///
    /// The first limit that the module exceeds.
    pub fn check(&self, binary: &[u8]) -> Result<(), ModuleLimitError> {
        if binary.len() > self.max_bytes {
            return Err(ModuleLimitError::Bytes {
                bytes: binary.len(),
                limit: self.max_bytes,
            });
        }
        if *self == Self::unlimited() {
            return Ok(());
        }
        let mut function = 0;
        for payload in Parser::new(0).parse_all(binary) {
            match payload {
                Ok(Payload::ImportSection(imports)) => {
                    function += imports
                        .into_imports()
                        .flatten()
                        .filter(|import| matches!(import.ty, wasmparser::TypeRef::Func(_)))
                        .count();
                }
                Ok(Payload::CodeSectionEntry(body)) => {
                    self.check_function(function, &body)?;
                    function += 1;
                }
                Ok(_) => {}
                Err(_) => break,
            }
        }
        Ok(())
    }

    fn check_function(
        &self,
        function: usize,
        body: &FunctionBody<'_>,
    ) -> Result<(), ModuleLimitError> {
        let bytes = body.as_bytes();
        if bytes.len() > self.max_function_bytes {
            return Err(ModuleLimitError::FunctionBytes {
                function,
                bytes: bytes.len(),
                limit: self.max_function_bytes,
            });
        }
        let locals = locals(body);
        let within = |blocks: usize, loops: usize| {
            blocks <= self.max_block_depth
                && loops <= self.max_loop_depth
                && loops.saturating_mul(locals) <= self.max_loops_by_locals
        };
        // Most functions have fewer bytes than the limits allow blocks and
        // loops.
        if within(bytes.len(), bytes.len()) {
            return Ok(());
        }
        // Upper bounds: an operand may have the value of an opcode.
        let blocks = bytes.iter().filter(|byte| BLOCKS.contains(byte)).count();
        let loops = bytes.iter().filter(|byte| **byte == LOOP).count();
        if within(blocks, loops) {
            return Ok(());
        }
        let nesting = Nesting::from_body(body);
        if nesting.block_depth > self.max_block_depth {
            return Err(ModuleLimitError::BlockDepth {
                function,
                depth: nesting.block_depth,
                limit: self.max_block_depth,
            });
        }
        if nesting.loop_depth > self.max_loop_depth {
            return Err(ModuleLimitError::LoopDepth {
                function,
                depth: nesting.loop_depth,
                limit: self.max_loop_depth,
            });
        }
        let product = nesting.loops.saturating_mul(locals);
        if product > self.max_loops_by_locals {
            return Err(ModuleLimitError::LoopsByLocals {
                function,
                product,
                limit: self.max_loops_by_locals,
            });
        }
        Ok(())
    }
}

/// The opcode of `loop`.
const LOOP: u8 = 0x03;

/// The opcodes of `block`, `loop`, `if` and `try_table`.
const BLOCKS: [u8; 4] = [0x02, LOOP, 0x04, 0x1f];

fn locals(body: &FunctionBody<'_>) -> usize {
    let Ok(groups) = body.get_locals_reader() else {
        return 0;
    };
    groups
        .into_iter()
        .map_while(Result::ok)
        .map(|(count, _)| usize::try_from(count).unwrap_or(usize::MAX))
        .fold(0, usize::saturating_add)
}

/// The blocks and loops of a function.
#[derive(Default)]
struct Nesting {
    loops: usize,
    /// The nesting depth of loops.
    loop_depth: usize,
    /// The nesting depth of all blocks.
    block_depth: usize,
}

impl Nesting {
    fn from_body(body: &FunctionBody<'_>) -> Self {
        let mut found = Self::default();
        // For each open block, `true` if it is a loop.
        let mut open = Vec::new();
        let mut loop_depth = 0;
        let Ok(operators) = body.get_operators_reader() else {
            return found;
        };
        for operator in operators.into_iter().map_while(Result::ok) {
            match operator {
                Operator::Loop { .. } => {
                    open.push(true);
                    loop_depth += 1;
                    found.loops += 1;
                    found.loop_depth = found.loop_depth.max(loop_depth);
                }
                Operator::Block { .. } | Operator::If { .. } | Operator::TryTable { .. } => {
                    open.push(false);
                }
                Operator::End if open.pop() == Some(true) => loop_depth -= 1,
                _ => {}
            }
            found.block_depth = found.block_depth.max(open.len());
        }
        found
    }
}

/// The one of the [`ModuleLimits`] that a module exceeds.
#[derive(Clone, Debug, PartialEq, Eq, ThisError)]
#[non_exhaustive]
pub enum ModuleLimitError {
    /// The binary is longer than [`ModuleLimits::max_bytes`].
    #[error("a module of {bytes} bytes is above the limit of {limit} bytes")]
    Bytes {
        /// The length of the binary.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// A function is longer than [`ModuleLimits::max_function_bytes`].
    #[error("function {function} of {bytes} bytes is above the limit of {limit} bytes")]
    FunctionBytes {
        /// The function's index in the module.
        function: usize,
        /// The length of its body.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// Blocks are nested deeper than [`ModuleLimits::max_block_depth`].
    #[error("function {function} has blocks in blocks {depth} deep, above the limit of {limit}")]
    BlockDepth {
        /// The function's index in the module.
        function: usize,
        /// The nesting depth.
        depth: usize,
        /// The limit.
        limit: usize,
    },
    /// Loops are nested deeper than [`ModuleLimits::max_loop_depth`].
    #[error("function {function} has loops in loops {depth} deep, above the limit of {limit}")]
    LoopDepth {
        /// The function's index in the module.
        function: usize,
        /// The nesting depth.
        depth: usize,
        /// The limit.
        limit: usize,
    },
    /// The number of loops times the number of locals exceeds
    /// [`ModuleLimits::max_loops_by_locals`].
    #[error(
        "function {function}: its loops times its locals are {product}, above the limit of {limit}"
    )]
    LoopsByLocals {
        /// The function's index in the module.
        function: usize,
        /// The product.
        product: usize,
        /// The limit.
        limit: usize,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(code: &str) -> Result<(), ModuleLimitError> {
        let text = format!(r#"(module (import "a" "b" (func)) (func) (func {code}))"#);
        let limits = ModuleLimits::default()
            .max_bytes(10_000)
            .max_function_bytes(1_000)
            .max_block_depth(200)
            .max_loop_depth(10)
            .max_loops_by_locals(100);
        limits.check(&wat::parse_str(text).unwrap())
    }

    #[test]
    #[cfg_attr(miri, ignore = "long texts take Miri minutes")]
    fn a_function_is_refused_by_its_index() {
        assert_eq!(check(&"nop ".repeat(990)), Ok(()));
        assert_eq!(
            check(&"nop ".repeat(1_000)),
            Err(ModuleLimitError::FunctionBytes {
                function: 2,
                bytes: 1_002,
                limit: 1_000
            })
        );
        assert!(matches!(
            check(&"nop ".repeat(10_000)),
            Err(ModuleLimitError::Bytes { .. })
        ));
    }

    #[test]
    #[cfg_attr(miri, ignore = "long texts take Miri minutes")]
    fn blocks_of_all_kinds_are_counted_in_each_other() {
        let nested = |depth: usize| {
            let ifs = "i32.const 1 if ".repeat(depth - 110);
            format!(
                "{}{}{ifs}{}",
                "block ".repeat(100),
                "loop ".repeat(10),
                "end ".repeat(depth)
            )
        };
        assert_eq!(check(&nested(200)), Ok(()));
        assert_eq!(
            check(&nested(201)),
            Err(ModuleLimitError::BlockDepth {
                function: 2,
                depth: 201,
                limit: 200
            })
        );
        assert_eq!(
            check(&"block end ".repeat(201)),
            Ok(()),
            "one after the other"
        );
    }

    #[test]
    #[cfg_attr(miri, ignore = "long texts take Miri minutes")]
    fn loops_are_counted_in_each_other_and_by_locals() {
        let nested = |count| "loop ".repeat(count) + &"end ".repeat(count);
        assert_eq!(check(&nested(10)), Ok(()));
        assert!(matches!(
            check(&nested(11)),
            Err(ModuleLimitError::LoopDepth { depth: 11, .. })
        ));
        assert_eq!(
            check(&"loop end ".repeat(100)),
            Ok(()),
            "one after the other"
        );
        let locals = format!("(local {}) ", "i32 ".repeat(10));
        assert_eq!(check(&format!("{locals}{}", nested(10))), Ok(()));
        assert!(matches!(
            check(&format!("{locals}{}", "loop end ".repeat(11))),
            Err(ModuleLimitError::LoopsByLocals { product: 110, .. })
        ));
        let constants = "i32.const 3 drop ".repeat(100);
        assert_eq!(check(&constants), Ok(()), "a 3 is not a loop");
        let blocks = "block ".repeat(100) + &"end ".repeat(100);
        assert_eq!(check(&format!("{}{blocks}", nested(10))), Ok(()));
    }

    #[test]
    fn what_is_no_module_is_left_to_the_engine() {
        assert_eq!(
            ModuleLimits::default().check(b"\0asm\x01\0\0\0\xff\xff"),
            Ok(())
        );
    }
}
