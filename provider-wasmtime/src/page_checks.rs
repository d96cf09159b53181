//! Inserts checks into a module, so that its guests can be killed: loads from a
//! page that another thread can take away.
//!
//! The page is one more memory of the module, the last, so that no index changes.
//! A check is an atomic load, since compilers remove a plain load after another
//! one; on x86-64 both are one `mov`. No guest runs long from check to check:
//!
//! - Each loop begins with one, unless each of its turns enters another loop.
//! - So does each function that calls others, or has a bulk instruction, or is
//!   long. A short function that has none of these needs none.
//! - Code without loops has one after every [`MOST_WORK`] calls of such functions.
//!
//! If wasmtime makes such checks itself one day (its pull request 12990), this file
//! goes, and `killable_store.rs` and the core's `KillSwitch` stay.

use std::ops::Range;

use wasmparser::{
    BinaryReader, BinaryReaderError, DataKind, ExternalKind, FunctionBody, Operator, Parser,
    Payload, TypeRef, VisitOperator, VisitSimdOperator, for_each_visit_operator,
    for_each_visit_simd_operator,
};

/// The name under which the page is exported.
pub(crate) const PAGE: &str = "wapc page to take away";

/// The name under which the start section's function is exported. Sections run
/// before the address of the page is known.
pub(crate) const START: &str = "wapc start section";

/// Changes with the output of [`insert`], for artefacts of compiled code.
pub(crate) const VERSION: u32 = 1;

/// Returns `binary` with checks, or `None` if it can have none: it uses the names
/// [`PAGE`] or [`START`], or is not valid.
///
/// If `binary` is not valid, the result is not valid either, or its export [`START`]
/// has parameters or results.
pub(crate) fn insert(binary: &[u8]) -> Option<Vec<u8>> {
    let outline = Outline::parse(binary).ok()?;
    let page = outline.memories;
    let code = outline.code(binary)?;
    let mut output = binary.get(..HEADER_BYTES)?.to_vec();
    output.reserve(binary.len() + binary.len() / 4);
    let (mut has_memory, mut has_export) = (false, false);
    for Section { id, range } in &outline.sections {
        let contents = binary.get(range.clone())?;
        match *id {
            SECTION_MEMORY => {
                has_memory = true;
                write_section(&mut output, *id, &append_items(contents, &[&ONE_PAGE])?);
            }
            SECTION_EXPORT => {
                has_export = true;
                let start = outline
                    .start
                    .map(|start| export(START, KIND_FUNCTION, start));
                let page = export(PAGE, KIND_MEMORY, page);
                let items: Vec<&[u8]> = start.iter().chain([&page]).map(Vec::as_slice).collect();
                write_section(&mut output, *id, &append_items(contents, &items)?);
            }
            SECTION_START => {}
            SECTION_CODE => write_section(&mut output, *id, &code),
            SECTION_CUSTOM if describes_code(contents) => {}
            id => write_section(&mut output, id, contents),
        }
    }
    (has_memory && has_export).then_some(output)
}

/// The parts of a module that matter here.
#[derive(Default)]
struct Outline<'m> {
    sections: Vec<Section>,
    imported_functions: u32,
    memories: u32,
    start: Option<u32>,
    bodies: Vec<FunctionBody<'m>>,
}

struct Section {
    id: u8,
    range: Range<usize>,
}

/// The module cannot have checks, or is not valid.
struct Unfit;

impl From<BinaryReaderError> for Unfit {
    fn from(_: BinaryReaderError) -> Self {
        Self
    }
}

impl<'m> Outline<'m> {
    fn parse(binary: &'m [u8]) -> Result<Self, Unfit> {
        let mut outline = Self::default();
        // Indices of memories, which must not be that of the page.
        let mut used = 0;
        for payload in Parser::new(0).parse_all(binary) {
            let payload = payload?;
            if let Some((id, range)) = payload.as_section() {
                outline.sections.push(Section { id, range });
            }
            match payload {
                Payload::ImportSection(imports) => {
                    for import in imports.into_imports() {
                        match import?.ty {
                            TypeRef::Func(_) | TypeRef::FuncExact(_) => {
                                outline.imported_functions += 1;
                            }
                            TypeRef::Memory(_) => return Err(Unfit),
                            _ => {}
                        }
                    }
                }
                Payload::MemorySection(memories) => {
                    for memory in memories {
                        if memory?.shared {
                            return Err(Unfit);
                        }
                        outline.memories += 1;
                    }
                }
                Payload::ExportSection(exports) => {
                    for export in exports {
                        let export = export?;
                        if [PAGE, START].contains(&export.name) {
                            return Err(Unfit);
                        }
                        if export.kind == ExternalKind::Memory {
                            used = used.max(export.index);
                        }
                    }
                }
                Payload::StartSection { func, .. } => outline.start = Some(func),
                Payload::CodeSectionEntry(body) => outline.bodies.push(body),
                Payload::DataSection(segments) => {
                    for segment in segments {
                        if let DataKind::Active { memory_index, .. } = segment?.kind {
                            used = used.max(memory_index);
                        }
                    }
                }
                _ => {}
            }
        }
        match used < outline.memories {
            true => Ok(outline),
            false => Err(Unfit),
        }
    }

    /// Returns the contents of the code section with checks.
    fn code(&self, binary: &[u8]) -> Option<Vec<u8>> {
        let mut check = vec![I32_CONST, 0];
        check.extend(I32_ATOMIC_LOAD);
        check.push(ALIGN_4 | WITH_MEMORY_INDEX);
        write_leb128(&mut check, self.memories.into());
        check.extend([0, DROP]);

        let mut section = Vec::with_capacity(binary.len());
        write_count(&mut section, self.bodies.len());
        let mut places = Vec::new();
        for body in &self.bodies {
            places.clear();
            let mut finder = Finder {
                imported_functions: self.imported_functions,
                memories: self.memories,
                places: &mut places,
                works: body.range().len() > LONG_BYTES,
                unfit: false,
                leads_on: false,
                work: 0,
                blocks: vec![],
            };
            finder.walk(body).ok()?;
            let range = body.range();
            let length = range.len() + places.len() * check.len();
            write_count(&mut section, length);
            let mut copied = range.start;
            for &place in &places {
                section.extend(binary.get(copied..place)?);
                section.extend(&check);
                copied = place;
            }
            section.extend(binary.get(copied..range.end)?);
        }
        Some(section)
    }
}

/// Functions of more bytes are long.
const LONG_BYTES: usize = 256;

/// The calls of unchecked functions between two checks.
const MOST_WORK: u32 = 1_000;

/// Finds the places of the checks in a function, in order.
struct Finder<'p> {
    imported_functions: u32,
    /// The guest's memories.
    memories: u32,
    places: &'p mut Vec<usize>,
    /// The function needs a check at its beginning.
    works: bool,
    unfit: bool,
    /// The code since the last check has no branch, and calls nothing.
    leads_on: bool,
    /// The calls since the last check, on the path that has most.
    work: u32,
    /// For each open block, the most `work` within it. A branch to its end may have
    /// skipped a check.
    blocks: Vec<u32>,
}

impl Finder<'_> {
    fn walk(&mut self, body: &FunctionBody<'_>) -> Result<(), Unfit> {
        let mut operators = body.get_operators_reader()?;
        let first = operators.original_position();
        self.check(first);
        while !operators.eof() {
            let before = operators.original_position();
            let event = operators.visit_operator(self)?;
            match event {
                Event::None => {}
                Event::Loop => {
                    if self.leads_on {
                        // Whatever reaches the check before reaches this one too.
                        self.places.pop();
                    }
                    self.open();
                    self.check(operators.original_position());
                }
                Event::Block => self.open(),
                Event::Branch => self.leads_on = false,
                Event::If => {
                    self.leads_on = false;
                    self.open();
                }
                Event::Else => {
                    self.leads_on = false;
                    self.work = self.blocks.last().copied().unwrap_or(0);
                }
                Event::End => {
                    // The end of the function closes no block.
                    if let Some(most) = self.blocks.pop() {
                        self.set_work(most);
                    }
                }
                Event::Work(work) => {
                    self.works = true;
                    if self.work.saturating_add(work) > MOST_WORK {
                        self.check(before);
                    }
                    self.set_work(self.work.saturating_add(work));
                    self.leads_on = false;
                }
            }
        }
        if self.unfit {
            return Err(Unfit);
        }
        if !self.works && self.places.first() == Some(&first) {
            self.places.remove(0);
        }
        Ok(())
    }

    fn open(&mut self) {
        self.blocks.push(self.work);
    }

    fn check(&mut self, place: usize) {
        self.places.push(place);
        self.leads_on = true;
        self.work = 0;
    }

    fn set_work(&mut self, work: u32) {
        self.work = work;
        if let Some(most) = self.blocks.last_mut() {
            *most = work.max(*most);
        }
    }
}

/// The part of an instruction in the way of a function.
enum Event {
    None,
    Loop,
    Block,
    If,
    Else,
    End,
    /// A branch, maybe out of the function.
    Branch,
    /// As much work as this number of calls.
    Work(u32),
}

/// A bulk instruction, after which there is a check.
const BULK: Event = Event::Work(MOST_WORK);

impl Finder<'_> {
    #[inline(always)]
    fn event(&self, operator: &Operator<'_>) -> Event {
        match operator {
            Operator::Loop { .. } => Event::Loop,
            Operator::Block { .. } => Event::Block,
            Operator::If { .. } | Operator::TryTable { .. } => Event::If,
            Operator::Br { .. }
            | Operator::BrIf { .. }
            | Operator::BrTable { .. }
            | Operator::BrOnCast { .. }
            | Operator::BrOnCastFail { .. }
            | Operator::BrOnNonNull { .. }
            | Operator::BrOnNull { .. }
            | Operator::Return
            | Operator::Throw { .. }
            | Operator::ThrowRef => Event::Branch,
            Operator::Else => Event::Else,
            Operator::End => Event::End,
            // The host's functions ask for the time themselves.
            Operator::Call { function_index } | Operator::ReturnCall { function_index }
                if *function_index < self.imported_functions =>
            {
                Event::None
            }
            Operator::Call { .. }
            | Operator::CallIndirect { .. }
            | Operator::CallRef { .. }
            | Operator::ReturnCall { .. }
            | Operator::ReturnCallIndirect { .. }
            | Operator::ReturnCallRef { .. } => Event::Work(1),
            Operator::MemoryCopy { .. }
            | Operator::MemoryFill { .. }
            | Operator::MemoryGrow { .. }
            | Operator::MemoryInit { .. }
            | Operator::TableCopy { .. }
            | Operator::TableFill { .. }
            | Operator::TableGrow { .. }
            | Operator::TableInit { .. }
            | Operator::ArrayCopy { .. }
            | Operator::ArrayFill { .. }
            | Operator::ArrayInitData { .. }
            | Operator::ArrayInitElem { .. }
            | Operator::ArrayNew { .. }
            | Operator::ArrayNewData { .. }
            | Operator::ArrayNewDefault { .. }
            | Operator::ArrayNewElem { .. } => BULK,
            _ => Event::None,
        }
    }

    /// Remembers that the guest uses a memory.
    #[inline]
    fn see_memory(&mut self, index: u32) {
        self.unfit |= index >= self.memories;
    }
}

/// Looks at the proposal of an instruction. Guests get none of these, which the
/// engine accepts for the sake of the checks.
macro_rules! see_proposal {
    ($self:ident threads) => {
        $self.unfit = true;
    };
    ($self:ident shared_everything_threads) => {
        $self.unfit = true;
    };
    ($self:ident $other:ident) => {};
}

/// Looks at an argument of an instruction, by its name.
macro_rules! see_argument {
    ($self:ident memarg $value:ident) => {
        $self.see_memory($value.memory)
    };
    ($self:ident mem $value:ident) => {
        $self.see_memory($value)
    };
    ($self:ident dst_mem $value:ident) => {
        $self.see_memory($value)
    };
    ($self:ident src_mem $value:ident) => {
        $self.see_memory($value)
    };
    ($self:ident $other:ident $value:ident) => {};
}

macro_rules! visit {
    ($(
        @$proposal:ident $operator:ident
        $({ $($argument:ident: $type:ty),* })? => $visit:ident ($($annotation:tt)*)
    )*) => {
        $(
            #[inline]
            fn $visit(&mut self $($(, $argument: $type)*)?) -> Event {
                see_proposal!(self $proposal);
                $($(see_argument!(self $argument $argument);)*)?
                self.event(&Operator::$operator $({ $($argument),* })?)
            }
        )*
    };
}

// Each kind of instruction has its own method, into which `event` is inlined. Most
// of them then compile to nothing.
impl<'a> VisitOperator<'a> for Finder<'_> {
    type Output = Event;

    fn simd_visitor(&mut self) -> Option<&mut dyn VisitSimdOperator<'a, Output = Event>> {
        Some(self)
    }

    for_each_visit_operator!(visit);
}

impl<'a> VisitSimdOperator<'a> for Finder<'_> {
    for_each_visit_simd_operator!(visit);
}

/// Returns `true` for a custom section with positions in the code, which change.
fn describes_code(section: &[u8]) -> bool {
    let name = BinaryReader::new(section, 0).read_string();
    name.is_ok_and(|name| name.starts_with("metadata.code.") || name.starts_with(".debug_"))
}

/// Returns an item of the export section.
fn export(name: &str, kind: u8, index: u32) -> Vec<u8> {
    let mut export = Vec::new();
    write_count(&mut export, name.len());
    export.extend(name.as_bytes());
    export.push(kind);
    write_leb128(&mut export, index.into());
    export
}

/// Appends `items` to a vector in the binary format.
fn append_items(vector: &[u8], items: &[&[u8]]) -> Option<Vec<u8>> {
    let mut reader = BinaryReader::new(vector, 0);
    let count = reader.read_var_u32().ok()?;
    let mut output = Vec::new();
    let count = count.checked_add(u32::try_from(items.len()).ok()?)?;
    write_leb128(&mut output, count.into());
    output.extend(vector.get(reader.original_position()..)?);
    items.iter().for_each(|item| output.extend(*item));
    Some(output)
}

fn write_section(output: &mut Vec<u8>, id: u8, contents: &[u8]) {
    output.push(id);
    write_count(output, contents.len());
    output.extend(contents);
}

fn write_count(output: &mut Vec<u8>, count: usize) {
    // The format bounds all lengths to 32 bits.
    write_leb128(output, u64::try_from(count).unwrap_or(u64::MAX));
}

/// Writes an unsigned number in LEB128.
fn write_leb128(output: &mut Vec<u8>, mut value: u64) {
    loop {
        let [low, ..] = value.to_le_bytes();
        value >>= 7;
        if value == 0 {
            output.push(low & 0x7f);
            return;
        }
        output.push(low | 0x80);
    }
}

// The binary format: <https://webassembly.github.io/spec/core/binary/>, and the
// threads proposal for the atomic load.
const HEADER_BYTES: usize = 8;
const SECTION_CUSTOM: u8 = 0;
const SECTION_MEMORY: u8 = 5;
const SECTION_EXPORT: u8 = 7;
const SECTION_START: u8 = 8;
const SECTION_CODE: u8 = 10;
const KIND_FUNCTION: u8 = 0;
const KIND_MEMORY: u8 = 2;
/// A memory of at least and at most one page.
const ONE_PAGE: [u8; 3] = [1, 1, 1];
const DROP: u8 = 0x1a;
const I32_CONST: u8 = 0x41;
const I32_ATOMIC_LOAD: [u8; 2] = [0xfe, 0x10];
const ALIGN_4: u8 = 2;
const WITH_MEMORY_INDEX: u8 = 0x40;

#[cfg(test)]
mod tests {
    use wapc_host::module;
    use wasmparser::{FuncType, Validator, WasmFeatures};

    use super::*;

    /// Returns the module with checks, which must be valid.
    fn checked(text: &str) -> Vec<u8> {
        let binary = module::binary(text.as_bytes()).expect("text");
        let checked = insert(&binary).expect("it can have checks");
        Validator::new_with_features(WasmFeatures::WASM3 | WasmFeatures::THREADS)
            .validate_all(&checked)
            .expect("it stays valid");
        checked
    }

    /// Returns the names of the instructions of each function, `check` for a check.
    fn code(binary: &[u8]) -> Vec<Vec<String>> {
        let mut functions = vec![];
        for payload in Parser::new(0).parse_all(binary) {
            let Payload::CodeSectionEntry(body) = payload.expect("a module") else {
                continue;
            };
            let operators = body.get_operators_reader().expect("code");
            let mut names: Vec<String> = vec![];
            for operator in operators {
                match operator.expect("an instruction") {
                    Operator::I32AtomicLoad { .. } => {
                        names.pop();
                        names.push("check".to_owned());
                    }
                    Operator::Drop if names.last().is_some_and(|name| name == "check") => {}
                    operator => {
                        let name = format!("{operator:?}");
                        let end = name.find([' ', '{']).unwrap_or(name.len());
                        names.push(name.split_at(end).0.to_owned());
                    }
                }
            }
            functions.push(names);
        }
        functions
    }

    fn code_of(function: &str) -> String {
        let text = format!(
            r#"(module (import "wapc" "__guest_response" (func $import (param i32 i32)))
                (type $plain (func)) (table 1 funcref)
                (memory (export "memory") 1)
                (func $f (local i64) {function}) (func $g))"#
        );
        code(&checked(&text)).remove(0).join(" ")
    }

    #[test]
    fn loops_begin_with_a_check() {
        assert_eq!(
            code_of("(loop (loop (br 1)))"),
            "Loop Loop check Br End End End",
            "each turn of the outer loop enters the inner one"
        );
        for branch in [
            "(br_if 0 (i32.const 0))",
            "(if (i32.const 0) (then nop))",
            "(call $g)",
        ] {
            let code = code_of(&format!("(loop {branch} (loop (br 1)))"));
            assert_eq!(code.matches("Loop check").count(), 2, "{code}");
        }
        let skipped = code_of("(loop (block (br_if 0 (i32.const 0)) (loop (br 1))))");
        assert_eq!(skipped.matches("Loop check").count(), 2, "{skipped}");
        let entered = code_of("nop (block (loop (call $g) (br 0)))");
        assert_eq!(entered, "Nop Block Loop check Call Br End End End");
    }

    #[test]
    fn functions_that_call_begin_with_a_check() {
        assert_eq!(code_of("(call $g)"), "check Call End");
        assert_eq!(code_of("(return_call $f)"), "check ReturnCall End");
        assert_eq!(
            code_of("(call_indirect (type $plain) (i32.const 0))"),
            "check I32Const CallIndirect End"
        );
        assert_eq!(
            code_of("(call $import (i32.const 0) (i32.const 0))"),
            "I32Const I32Const Call End",
            "the host asks for the time itself"
        );
    }

    #[test]
    fn short_functions_without_loops_and_calls_have_no_check() {
        assert_eq!(
            code_of("nop (if (i32.const 1) (then nop))")
                .matches("check")
                .count(),
            0
        );
        assert!(code_of(&"nop ".repeat(300)).starts_with("check Nop"));
    }

    #[test]
    fn bulk_instructions_have_checks_between_them() {
        let fill = "(memory.fill (i32.const 0) (i32.const 0) (i32.const 0))";
        assert_eq!(code_of(fill).matches("check").count(), 1);
        assert_eq!(code_of(&fill.repeat(5)).matches("check").count(), 5);
    }

    /// Returns the most calls on a path without a check, where each `if` is passed by.
    fn most_calls_passed(function: &str) -> usize {
        let (mut calls, mut most, mut depth) = (0, 0, 0);
        for name in code_of(function).split(' ') {
            match name {
                "If" => depth += 1,
                "End" if depth > 0 => depth -= 1,
                "check" if depth == 0 => calls = 0,
                "Call" if depth == 0 => calls += 1,
                _ => {}
            }
            most = most.max(calls);
        }
        most
    }

    #[test]
    fn code_without_loops_has_a_check_after_every_thousand_calls() {
        let calls = |many: usize| "(call $g)".repeat(many);
        assert_eq!(code_of(&calls(1_000)).matches("check").count(), 1);
        assert_eq!(code_of(&calls(1_001)).matches("check").count(), 2);
        assert_eq!(code_of(&calls(10_000)).matches("check").count(), 10);
        let passed_by = format!(
            "{} (if (i32.const 0) (then {})) {}",
            calls(999),
            calls(2),
            calls(999)
        );
        assert!(most_calls_passed(&passed_by.repeat(20)) <= 1_000);
    }

    #[test]
    fn the_page_is_the_last_memory() {
        let binary = checked(
            r#"(module (memory (export "memory") 1) (memory 1)
                (func (export "f") (loop (br 0))) (func $start) (start $start))"#,
        );
        let mut exports = vec![];
        for payload in Parser::new(0).parse_all(&binary) {
            match payload.expect("a module") {
                Payload::ExportSection(section) => {
                    for export in section {
                        let export = export.expect("an export");
                        exports.push((export.name.to_owned(), export.index));
                    }
                }
                Payload::StartSection { .. } => panic!("it is an export"),
                _ => {}
            }
        }
        let name = |name: &str, index| (name.to_owned(), index);
        assert_eq!(
            exports,
            [
                name("memory", 0),
                name("f", 0),
                name(START, 1),
                name(PAGE, 2)
            ]
        );
    }

    #[test]
    fn an_invalid_module_does_not_become_valid() {
        let valid = r#"(module (memory (export "memory") 1) (func (export "f")))"#;
        checked(valid);
        for module in [
            // The page's index, which is none of the guest's.
            r#"(module (memory (export "memory") 1)
                (func (drop (i32.load 1 (i32.const 0)))))"#,
            r#"(module (memory (export "memory") 1)
                (func (drop (v128.load8_lane 1 0 (i32.const 0) (v128.const i64x2 0 0)))))"#,
            r#"(module (memory (export "memory") 1) (func (drop (memory.size 1))))"#,
            r#"(module (memory (export "memory") 1)
                (func (memory.copy 0 1 (i32.const 0) (i32.const 0) (i32.const 0))))"#,
            r#"(module (memory (export "memory") 1)
                (func (memory.copy 1 0 (i32.const 0) (i32.const 0) (i32.const 0))))"#,
            r#"(module (memory (export "memory") 1)
                (func (memory.fill 1 (i32.const 0) (i32.const 0) (i32.const 0))))"#,
            r#"(module (memory (export "memory") 1) (data $d "")
                (func (memory.init 1 $d (i32.const 0) (i32.const 0) (i32.const 0))))"#,
            r#"(module (memory 1) (export "memory" (memory 1)))"#,
            r#"(module (memory (export "memory") 1) (data (memory 1) (i32.const 0) ""))"#,
            // The threads proposal.
            r#"(module (memory (export "memory") 1) (func (atomic.fence)))"#,
            r#"(module (memory (export "memory") 1 1 shared))"#,
            r#"(module (memory (export "memory") 1)
                (func (drop (i32.atomic.load (i32.const 0)))))"#,
        ] {
            let binary = module::binary(module.as_bytes()).expect("text");
            assert!(insert(&binary).is_none(), "{module}");
        }
        let typed = checked_start(r#"(func (param i32)) (start 0)"#);
        assert_eq!(typed.map(|ty| ty.params().len()), Some(1));
    }

    /// Returns the type of the function of a start section.
    fn checked_start(fields: &str) -> Option<FuncType> {
        let text = format!(r#"(module (memory (export "memory") 1) {fields})"#);
        let binary = insert(&module::binary(text.as_bytes()).expect("text"))?;
        for payload in Parser::new(0).parse_all(&binary) {
            if let Payload::TypeSection(types) = payload.expect("a module") {
                let group = types.into_iter().next()?.expect("a type");
                return group.into_types().next().map(|ty| ty.unwrap_func().clone());
            }
        }
        None
    }

    #[test]
    fn names_of_the_checks_are_left_to_the_guest() {
        for name in [PAGE, START] {
            let text = format!(r#"(module (memory (export "memory") 1) (func (export "{name}")))"#);
            let binary = module::binary(text.as_bytes()).expect("text");
            assert!(insert(&binary).is_none(), "{name}");
        }
    }
}
