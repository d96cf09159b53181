//! Limits on the cost of compiling a module.

use std::time::Duration;

use thiserror::Error as ThisError;
use wasmparser::{FunctionBody, Operator, Parser, Payload};

use crate::limits::compile_cost::{self, Signatures};

/// Limits on the cost of compiling a module.
///
/// A provider checks them before it compiles. The time and memory for one function
/// grow faster than the function: Cranelift took 6 GB for 12 KB of `if`s with a
/// thousand values each, 18 s for 60,000 blocks one after the other, 5 s for 4,000
/// loops. The cost of a function is therefore estimated from its code
/// ([`max_function_cost`](ModuleLimits::max_function_cost)): with the defaults, one
/// function takes at most about 2 s of processor time and 256 MiB, on each engine.
///
/// The sum over all functions is bounded by [`max_cost`](ModuleLimits::max_cost). Its
/// default accepts large programs, which may take tens of seconds: for untrusted modules
/// of moderate size set it to a few seconds.
///
/// Estimates can be wrong, so there is a hard stop as well:
/// [`compile_timeout`](ModuleLimits::compile_timeout).
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
    /// Parameters and locals of one function. Default: 20,000, which each engine
    /// accepts.
    pub max_locals: usize,
    /// Targets of one `br_table`. Default: 50,000, which each engine accepts.
    pub max_branch_targets: usize,
    /// Processor time that one function is estimated to take. Default: 2 s.
    pub max_function_cost: Duration,
    /// Processor time that all functions together are estimated to take. The estimate
    /// is an upper bound: ordinary code takes about a fifth of it. Default: 60 s.
    pub max_cost: Duration,
    /// Time after which a compile is given up; `None` is never. Default: 30 s.
    ///
    /// Nothing can interrupt a compiler, so its thread is abandoned, and goes on. After
    /// four abandoned ones that have not ended, further modules are refused with
    /// [`ModuleLimitError::Abandoned`]. Modules whose
    /// [`cost`](ModuleLimits::cost) is below half a second are compiled on the caller's
    /// thread.
    pub compile_timeout: Option<Duration>,
}

impl Default for ModuleLimits {
    fn default() -> Self {
        Self {
            max_bytes: 128 << 20,
            max_function_bytes: 1 << 20,
            max_block_depth: 20_000,
            max_loop_depth: 4_000,
            max_loops_by_locals: 250_000,
            max_locals: 20_000,
            max_branch_targets: 50_000,
            max_function_cost: Duration::from_secs(2),
            max_cost: Duration::from_secs(60),
            compile_timeout: Some(Duration::from_secs(30)),
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
            max_locals: usize::MAX,
            max_branch_targets: usize::MAX,
            max_function_cost: Duration::MAX,
            max_cost: Duration::MAX,
            compile_timeout: None,
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

    /// Sets [`max_locals`](Self::max_locals).
    #[must_use]
    pub const fn max_locals(mut self, locals: usize) -> Self {
        self.max_locals = locals;
        self
    }

    /// Sets [`max_branch_targets`](Self::max_branch_targets).
    #[must_use]
    pub const fn max_branch_targets(mut self, targets: usize) -> Self {
        self.max_branch_targets = targets;
        self
    }

    /// Sets [`max_function_cost`](Self::max_function_cost).
    #[must_use]
    pub const fn max_function_cost(mut self, cost: Duration) -> Self {
        self.max_function_cost = cost;
        self
    }

    /// Sets [`max_cost`](Self::max_cost).
    #[must_use]
    pub const fn max_cost(mut self, cost: Duration) -> Self {
        self.max_cost = cost;
        self
    }

    /// Sets [`compile_timeout`](Self::compile_timeout).
    #[must_use]
    pub const fn compile_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.compile_timeout = timeout;
        self
    }

    /// Estimates the processor time that compiling `binary` takes at most, on a server of
    /// 2024.
    ///
    /// ```
    /// use std::time::Duration;
    /// use wapc_host::ModuleLimits;
    ///
    /// let binary = wapc_host::module::binary(b"(module (func nop))")?;
    /// assert!(ModuleLimits::cost(&binary) < Duration::from_millis(1));
    /// # Ok::<(), wapc_host::error::ModuleError>(())
    /// ```
    #[must_use]
    pub fn cost(binary: &[u8]) -> Duration {
        Duration::from_nanos(compile_cost::of_module(binary, locals))
    }

    /// Checks a binary. An engine calls this before it compiles.
    ///
    /// A binary that does not parse passes, and the engine reports the error.
    ///
    /// # Errors
    ///
    /// The first limit that the module exceeds.
    pub fn check(&self, binary: &[u8]) -> Result<(), ModuleLimitError> {
        self.checked_cost(binary).map(drop)
    }

    /// Checks a binary, and returns its estimated cost; 0 without any limit.
    pub(crate) fn checked_cost(&self, binary: &[u8]) -> Result<Duration, ModuleLimitError> {
        if binary.len() > self.max_bytes {
            return Err(ModuleLimitError::Bytes {
                bytes: binary.len(),
                limit: self.max_bytes,
            });
        }
        if *self == Self::unlimited() {
            return Ok(Duration::ZERO);
        }
        let mut signatures = Signatures::default();
        let mut function = None;
        let mut sum = Duration::ZERO;
        for payload in Parser::new(0).parse_all(binary).map_while(Result::ok) {
            match payload {
                Payload::CodeSectionEntry(body) => {
                    let number = function.get_or_insert(signatures.imported());
                    let cost = self.check_function(&signatures, *number, &body)?;
                    sum = sum.saturating_add(cost);
                    *number += 1;
                }
                other => signatures.read(other),
            }
        }
        let cost = sum.saturating_add(Duration::from_nanos(signatures.cost()));
        let limit = self.max_cost;
        match cost <= limit {
            true => Ok(cost),
            false => Err(ModuleLimitError::Cost { cost, limit }),
        }
    }

    /// Returns the estimated cost of the function.
    fn check_function(
        &self,
        signatures: &Signatures,
        function: usize,
        body: &FunctionBody<'_>,
    ) -> Result<Duration, ModuleLimitError> {
        self.check_shape(function, body)?;
        let locals = locals(body);
        if locals > self.max_locals {
            return Err(ModuleLimitError::Locals {
                function,
                locals,
                limit: self.max_locals,
            });
        }
        let (cost, targets) = compile_cost::of_function(signatures, function, body, locals);
        if targets > self.max_branch_targets {
            return Err(ModuleLimitError::BranchTargets {
                function,
                targets,
                limit: self.max_branch_targets,
            });
        }
        let (cost, limit) = (Duration::from_nanos(cost), self.max_function_cost);
        match cost <= limit {
            true => Ok(cost),
            false => Err(ModuleLimitError::FunctionCost {
                function,
                cost,
                limit,
            }),
        }
    }

    fn check_shape(
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
    /// A function has more locals than [`ModuleLimits::max_locals`].
    #[error("function {function} has {locals} locals, above the limit of {limit}")]
    Locals {
        /// The function's index in the module.
        function: usize,
        /// The number of locals.
        locals: usize,
        /// The limit.
        limit: usize,
    },
    /// A `br_table` has more targets than [`ModuleLimits::max_branch_targets`].
    #[error(
        "function {function} has a `br_table` of {targets} targets, above the limit of {limit}"
    )]
    BranchTargets {
        /// The function's index in the module.
        function: usize,
        /// The number of targets.
        targets: usize,
        /// The limit.
        limit: usize,
    },
    /// A function is estimated to cost more than [`ModuleLimits::max_function_cost`].
    #[error(
        "function {function} may take {cost:.1?} to compile, above the limit of {limit:?}: it has too \
         many blocks, values of blocks, loops, locals or arguments"
    )]
    FunctionCost {
        /// The function's index in the module.
        function: usize,
        /// The estimate.
        cost: Duration,
        /// The limit.
        limit: Duration,
    },
    /// The module is estimated to cost more than [`ModuleLimits::max_cost`].
    #[error("the module may take {cost:.1?} to compile, above the limit of {limit:?}")]
    Cost {
        /// The estimate.
        cost: Duration,
        /// The limit.
        limit: Duration,
    },
    /// Compiling took longer than [`ModuleLimits::compile_timeout`], and was given up.
    #[error("the module was not compiled within {limit:?}")]
    Time {
        /// The limit.
        limit: Duration,
    },
    /// Compiles that were given up have not ended yet, and there are too many of them.
    #[error("{limit} modules that were given up are still being compiled: try again later")]
    Abandoned {
        /// The greatest number of them.
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
            .max_loops_by_locals(100)
            .max_locals(30)
            .max_branch_targets(50)
            .max_function_cost(Duration::from_millis(20));
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

    #[test]
    #[cfg_attr(miri, ignore = "long texts take Miri minutes")]
    fn the_cost_of_a_function_is_bounded_whatever_causes_it() {
        let refused = |code: &str| match check(code) {
            Err(ModuleLimitError::FunctionCost { function: 2, .. }) => true,
            Ok(()) => false,
            other => panic!("{other:?}"),
        };
        // Each is twice as long as what is accepted.
        let ifs = |n| {
            let values = "i32 ".repeat(10);
            let one = format!("i32.const 0 if (param {values}) (result {values}) end ");
            "i32.const 0 ".repeat(10) + &one.repeat(n) + &"drop ".repeat(10)
        };
        assert!(!refused(&ifs(15)) && refused(&ifs(40)));
        let more_locals = format!("(local {})", "i32 ".repeat(31));
        assert!(matches!(
            check(&more_locals),
            Err(ModuleLimitError::Locals { locals: 31, .. })
        ));
        let targets = format!("block i32.const 0 br_table {} end", "0 ".repeat(60));
        assert!(matches!(
            check(&targets),
            Err(ModuleLimitError::BranchTargets { targets: 59, .. })
        ));
    }

    #[test]
    #[cfg_attr(miri, ignore = "long texts take Miri minutes")]
    fn the_cost_of_a_module_is_the_sum_of_its_functions() {
        let module = |functions: usize| {
            let text = format!("(module {})", "(func nop nop)".repeat(functions));
            wat::parse_str(text).unwrap()
        };
        let costs = [1, 2, 3].map(|functions| ModuleLimits::cost(&module(functions)));
        assert_eq!(costs[2] - costs[1], costs[1] - costs[0]);
        let limits = ModuleLimits::default().max_cost(costs[1]);
        assert_eq!(limits.check(&module(2)), Ok(()));
        assert!(matches!(
            limits.check(&module(3)),
            Err(ModuleLimitError::Cost { cost, .. }) if cost == costs[2]
        ));
    }
}
