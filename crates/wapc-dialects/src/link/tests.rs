//! Linked modules run as their units would.
use wasmparser::{Validator, WasmFeatures};

use super::*;

fn wat(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap()
}

fn validate(binary: &[u8]) {
    Validator::new_with_features(WasmFeatures::all())
        .validate_all(binary)
        .unwrap();
}

/// Links units of which each is bound to the next ones by the names of modules, and exports all of
/// the first.
fn link(units: &[(&str, &str)]) -> Result<Vec<u8>, LinkError> {
    let binaries: Vec<_> = units.iter().map(|(_, text)| wat(text)).collect();
    let mut linker = Linker::new();
    let ids: Vec<_> = units
        .iter()
        .zip(&binaries)
        .map(|((name, _), binary)| linker.add(Unit::parse(name, binary).unwrap()))
        .collect();
    for id in &ids {
        let imports: Vec<_> = linker.unit(*id).unwrap().imports().collect();
        let imports: Vec<_> = imports
            .into_iter()
            .map(|(module, name, _)| (module, name))
            .collect();
        for (module, name) in imports {
            if let Some(at) = units.iter().position(|(unit, _)| *unit == module) {
                linker.bind(*id, module, name, ids[at], name);
            }
        }
    }
    let exports = linker.unit(ids[0]).unwrap().exports();
    let exports: Vec<_> = exports.map(|(name, ..)| name.to_owned()).collect();
    for export in exports {
        linker.export(ids[0], &export, &export);
    }
    let linked = linker.link()?;
    validate(&linked);
    Ok(linked)
}

fn text(binary: &[u8]) -> String {
    format!(
        "{:?}",
        Unit::parse("it", binary)
            .unwrap()
            .imports()
            .map(|(m, n, _)| (m, n))
            .collect::<Vec<_>>()
    )
}

#[test]
fn everything_that_a_unit_has_is_renumbered() {
    let main = r#"(module $main
        (type $unused (func (param f64)))
        (import "host" "log" (func $log (param i32)))
        (import "library" "memory" (memory $theirs 1))
        (import "library" "add" (func $add (param i32 i32) (result i32)))
        (import "library" "table" (table $t 4 funcref))
        (import "library" "count" (global $count (mut i32)))
        (import "library" "oops" (tag $oops (param i32)))
        (memory $own 1)
        (table $mine 2 funcref)
        (global $g (mut i64) (i64.const 7))
        (elem (table $mine) (i32.const 0) func $f $log)
        (elem $passive funcref (ref.func $f))
        (data $d (memory $own) (i32.const 3) "abc")
        (data $passive_data "xyz")
        (func $f (export "run") (param $x i32) (result i32) (local $y f64)
            (memory.copy $theirs $own (i32.const 0) (i32.const 3) (i32.const 3))
            (memory.init $own $passive_data (i32.const 0) (i32.const 0) (i32.const 1))
            (table.init $t $passive (i32.const 0) (i32.const 0) (i32.const 1))
            (global.set $count (i32.const 1))
            (call_indirect $mine (param i32) (i32.const 2) (i32.const 1))
            (block $b (result i32)
                (try_table (catch $oops $b) (throw $oops (i32.const 1)))
                (i32.const 1))
            (drop)
            (drop (ref.func $add))
            (return_call $add (local.get $x) (i32.load8_u $theirs (i32.const 0))))
        (elem declare func $add))"#;
    let library = r#"(module $library
        (type (func (param i64)))
        (memory (export "memory") 1)
        (table (export "table") 4 funcref)
        (global (export "count") (mut i32) (i32.const 0))
        (tag (export "oops") (param i32))
        (func $add (export "add") (param i32 i32) (result i32)
            (i32.add (local.get 0) (local.get 1))))"#;
    let linked = link(&[("main", main), ("library", library)]).unwrap();
    assert_eq!(text(&linked), r#"[("host", "log")]"#);
    let linked = Unit::parse("it", &linked).unwrap();
    assert_eq!(linked.bodies.len(), 2);
    assert_eq!(linked.memories.unwrap().count(), 2);
}

#[test]
fn start_sections_run_the_libraries_first() {
    let unit = |import: &str| format!(r#"(module {import} (func $begin (nop)) (start $begin))"#);
    let main = unit(r#"(import "library" "memory" (memory 1))"#);
    let library = r#"(module (memory (export "memory") 1) (func $begin (nop)) (start $begin))"#;
    let linked = link(&[("main", &main), ("library", library), ("other", &unit(""))]).unwrap();
    let linked = Unit::parse("it", &linked).unwrap();
    // The three, and one that calls the second, the third and then the first.
    assert_eq!((linked.bodies.len(), linked.start), (4, Some(3)));
    let calls: Vec<_> = linked.bodies[3]
        .get_operators_reader()
        .unwrap()
        .into_iter()
        .filter_map(|operator| match operator.unwrap() {
            wasmparser::Operator::Call { function_index } => Some(function_index),
            _ => None,
        })
        .collect();
    assert_eq!(calls, [1, 2, 0]);
}

#[test]
fn names_and_custom_sections_are_kept() {
    let main = r#"(module $main (@custom "kept" "abc") (@custom ".debug_info" "gone")
        (import "library" "f" (func $imported))
        (func $first (param $p i32) (local $l i32) (call $imported)))"#;
    let library = r#"(module $library (@custom "theirs" "gone")
        (func $theirs (export "f") (param) (local $own i32)))"#;
    let linked = link(&[("main", main), ("library", library)]).unwrap();
    let unit = Unit::parse("it", &linked).unwrap();
    assert_eq!(unit.custom_sections(), [("kept", &b"abc"[..])]);
    let printed = format!("{:?}", names_of(&unit));
    assert_eq!(
        printed,
        r#"["module main", "0 first", "1 theirs", "0.0 p", "0.1 l", "1.0 own"]"#
    );
}

fn names_of(unit: &Unit<'_>) -> Vec<String> {
    let mut names = vec![];
    for subsection in unit.names.clone().unwrap() {
        match subsection.unwrap() {
            wasmparser::Name::Module { name, .. } => names.push(format!("module {name}")),
            wasmparser::Name::Function(map) => {
                names.extend(map.into_iter().map(|naming| {
                    let naming = naming.unwrap();
                    format!("{} {}", naming.index, naming.name)
                }));
            }
            wasmparser::Name::Local(map) => {
                for function in map {
                    let function = function.unwrap();
                    names.extend(function.names.into_iter().map(|naming| {
                        let naming = naming.unwrap();
                        format!("{}.{} {}", function.index, naming.index, naming.name)
                    }));
                }
            }
            _ => {}
        }
    }
    names
}

#[test]
fn an_import_is_passed_on_and_never_in_circles() {
    let main = r#"(module (import "a" "f" (func $f)) (func (export "run") (call $f)))"#;
    let passes =
        |from: &str| format!(r#"(module (import "{from}" "f" (func $f)) (export "f" (func $f)))"#);
    let end = r#"(module (func (export "f")))"#;
    link(&[("main", main), ("a", &passes("b")), ("b", end)]).unwrap();
    let circle = link(&[("main", main), ("a", &passes("b")), ("b", &passes("a"))]);
    assert_eq!(
        circle.unwrap_err().to_string(),
        "`a.f`, which main imports, is bound to itself, or through too many others"
    );
}

#[test]
fn what_does_not_fit_is_refused_by_name() {
    let main = |import: &str| format!(r#"(module (import "other" "f" {import}))"#);
    let other = r#"(module (func (export "f") (param i32)) (memory (export "m") 1))"#;
    for (import, expected) in [
        (
            "(func)",
            "`other.f`, which main imports, is of another type as the `f` of other",
        ),
        (
            "(memory 1)",
            "`other.f`, which main imports, is of another type as the `f` of other",
        ),
    ] {
        let refused = link(&[("main", &main(import)), ("other", other)]).unwrap_err();
        assert_eq!(refused.to_string(), expected);
    }
    let missing = link(&[("main", &main("(func)")), ("other", "(module)")]).unwrap_err();
    assert_eq!(missing.to_string(), "other does not export `f`");
    let constant = link(&[
        (
            "main",
            r#"(module (import "other" "g" (global i32)) (global i32 (global.get 0)))"#,
        ),
        (
            "other",
            r#"(module (global (export "g") i32 (i32.const 1)))"#,
        ),
    ]);
    assert!(matches!(
        constant,
        Err(LinkError::ConstantGlobal { index: 0, .. })
    ));
}

#[test]
fn bytes_of_any_kind_are_no_panic() {
    let module = wat(r#"(module
        (import "a" "f" (func $f (param i32) (result i64)))
        (memory 1) (table 1 funcref) (global (mut i32) (i32.const 0))
        (elem (i32.const 0) func $f) (data (i32.const 0) "x")
        (func (export "g") (param i32) (result i64) (call $f (local.get 0))))"#);
    for at in 0..module.len() {
        for byte in [0, 1, 0x7f, 0x80, 0xff] {
            let mut broken = module.clone();
            broken[at] = byte;
            let Ok(unit) = Unit::parse("it", &broken) else {
                continue;
            };
            let mut linker = Linker::new();
            let id = linker.add(unit);
            let again = linker.add(Unit::parse("it", &module).unwrap());
            linker.bind(again, "a", "f", id, "g");
            linker.export(id, "g", "g");
            drop(linker.link());
        }
    }
}

#[test]
fn what_is_bound_must_be_of_the_type_that_its_user_expects() {
    for (kind, wanted, found) in [
        ("memory", "(memory 1)", "(memory (export \"x\") i64 1)"),
        ("minimum", "(memory 2)", "(memory (export \"x\") 1)"),
        ("maximum", "(memory 1 2)", "(memory (export \"x\") 1)"),
        (
            "maximum of a table",
            "(table 1 2 funcref)",
            "(table (export \"x\") 1 3 funcref)",
        ),
        (
            "global",
            "(global i64)",
            "(global (export \"x\") i32 (i32.const 1))",
        ),
        (
            "mutability",
            "(global (mut i32))",
            "(global (export \"x\") i32 (i32.const 1))",
        ),
        (
            "table",
            "(table 1 funcref)",
            "(table (export \"x\") 1 externref)",
        ),
        (
            "tag",
            "(tag (param i32))",
            "(tag (export \"x\") (param i64))",
        ),
    ] {
        let user = wat::parse_str(format!("(module (import \"p\" \"x\" {wanted}))"));
        let provider = wat::parse_str(format!("(module {found})"));
        let (user, provider) = (user.expect("a module"), provider.expect("a module"));
        let mut linker = Linker::new();
        let user = linker.add(Unit::parse("user", &user).expect("a unit"));
        let provider = linker.add(Unit::parse("provider", &provider).expect("a unit"));
        linker.bind(user, "p", "x", provider, "x");
        assert!(
            matches!(linker.link(), Err(LinkError::OtherType { .. })),
            "{kind}"
        );
    }
}

/// Links a unit and a library whose small functions are put in place of calls to them.
fn link_inlining(main: &str, library: &str) -> Vec<u8> {
    let (main, library) = (wat(main), wat(library));
    let mut linker = Linker::new();
    let main = linker.add(Unit::parse("main", &main).unwrap());
    let library = linker.add(Unit::parse("library", &library).unwrap());
    linker.inline(library);
    for name in ["load", "store", "add", "large", "again"] {
        linker.bind(main, "library", name, library, name);
    }
    linker.export(main, "run", "run");
    let linked = linker.link().unwrap();
    validate(&linked);
    linked
}

/// A library with small functions, and others.
const SMALL: &str = r#"(module
    (memory 1)
    (global $bytes (mut i32) (i32.const 65536))
    (func $load (export "load") (param $at i32) (result i32)
        (if (result i32) (i32.lt_u (local.get $at) (global.get $bytes))
            (then (i32.load8_u (local.get $at)))
            (else (i32.const -1))))
    (func $store (export "store") (param i32 i64) (i64.store (local.get 0) (local.get 1)))
    (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 1) (local.get 0)))
    (func (export "large") (result i32) (local i32) (local.get 0))
    (func (export "again") (param i32) (result i32) (call $load (local.get 0))))"#;

#[test]
fn small_functions_are_put_in_place_of_calls() {
    let main = r#"(module
        (import "library" "load" (func $load (param i32) (result i32)))
        (import "library" "store" (func $store (param i32 i64)))
        (import "library" "add" (func $add (param i32 i32) (result i32)))
        (import "library" "large" (func $large (result i32)))
        (import "library" "again" (func $again (param i32) (result i32)))
        (memory 1) (global i64 (i64.const 0))
        (func (export "run") (param $x i32) (result i32) (local $y f32)
            (block $named
                (br_if $named (call $add (call $load (i32.const 1)) (call $large)))
                (call $store (local.get $x) (i64.const 7)))
            (call $add (call $load (local.get $x)) (call $again (i32.const 2)))))"#;
    let linked = link_inlining(main, SMALL);
    let linked = Unit::parse("it", &linked).unwrap();
    // What is not small is called: `large` has a local, `again` calls.
    assert_eq!(calls(&linked.bodies[0]), 2);
    // Two locals for `add`, which the others share, and one for the i64 of `store`.
    let locals = linked.bodies[0].get_locals_reader().unwrap();
    let locals: Vec<_> = locals.into_iter().map(|local| local.unwrap().1).collect();
    use wasmparser::ValType::{F32, I32, I64};
    assert_eq!(locals, [F32, I32, I32, I64]);
    // The numbers of labels have changed, so that their names would be wrong.
    let names = linked.names.clone().unwrap();
    assert!(
        !names
            .into_iter()
            .any(|names| matches!(names.unwrap(), wasmparser::Name::Label(_)))
    );
    assert_eq!(calls(&linked.bodies[5]), 0, "of `again`");
}

fn calls(body: &wasmparser::FunctionBody<'_>) -> usize {
    let operators = body.get_operators_reader().unwrap().into_iter();
    let is_call = |operator: wasmparser::Result<_>| {
        matches!(operator.unwrap(), wasmparser::Operator::Call { .. })
    };
    operators
        .filter(|operator| is_call(operator.clone()))
        .count()
}

#[test]
fn a_function_gets_a_bounded_number_of_small_ones() {
    let loads = "(drop (call $load (i32.const 1)))".repeat(1_500);
    let many_locals = "(local i32)".repeat(1_001);
    for (locals, left) in [("", 500), (&*many_locals, 1_500)] {
        let main = format!(
            r#"(module (import "library" "load" (func $load (param i32) (result i32)))
                (func (export "run") {locals} {loads}))"#
        );
        let linked = link_inlining(&main, SMALL);
        let linked = Unit::parse("it", &linked).unwrap();
        assert_eq!(calls(&linked.bodies[0]), left);
    }
}

#[test]
fn a_renewed_unit_has_a_function_that_begins_it_anew() {
    let main = wat(r#"(module
        (import "command" "run" (func $run (param i32) (result i32)))
        (import "command" "other" (func $other))
        (func $begin) (start $begin)
        (func (export "run") (drop (call $run (i32.const 1))) (call $other) (call $other)))"#);
    let command = r#"(module
        (type (func (param f64)))
        (import "host" "value" (global $imported i32))
        (memory 1) (table 2 funcref) (table $filled 2 funcref (ref.func $start))
        (global $a (mut i32) (i32.const 7)) (global $b i64 (i64.const 1)) (global $c (mut i32) (global.get $imported))
        (data (i32.const 8) "abc") (data "passive") (data (i32.const 20) "de")
        (elem (i32.const 1) $start) (elem declare func $start)
        (func $start (global.set $a (i32.const 1))) (start $start)
        (func (export "run") (param i32) (result i32) (call $other) (global.get $a))
        (func $other (export "other")))"#;
    let link = |command: &str| {
        let command = wat(command);
        let mut linker = Linker::new();
        let main = linker.add(Unit::parse("main", &main).unwrap());
        let command = linker.add(Unit::parse("the command", &command).unwrap());
        linker.renew(command);
        for name in ["run", "other"] {
            linker.bind(main, "command", name, command, name);
        }
        linker.export(main, "run", "run");
        linker.link()
    };
    let linked = link(command).unwrap();
    validate(&linked);
    let linked = Unit::parse("it", &linked).unwrap();
    // Those of the two, one that renews, and two that call it first.
    // And the one that grows its memory.
    assert_eq!(linked.bodies.len(), 2 + 3 + 4);
    assert_eq!(
        linked.start,
        Some(0),
        "the command's is not run but in each call"
    );
    assert_eq!((calls(&linked.bodies[5]), calls(&linked.bodies[7])), (1, 2));
    // The command's own call of itself is direct.
    assert_eq!(calls(&linked.bodies[3]), 1);
    for refused in [
        command
            .replace("(memory 1)", "(memory i64 1)")
            .replace("(i32.const 8) \"abc\"", "\"\"")
            .replace("(i32.const 20) \"de\"", "\"\""),
        command.replace(
            "(func $other (export \"other\"))",
            "(func $other (export \"other\") (data.drop 1))",
        ),
    ] {
        let refused = link(&refused).unwrap_err();
        assert!(matches!(refused, LinkError::Unsupported(_)), "{refused}");
    }
}
