//! Guests behave the same whether small functions are called or put in place of the calls.
#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a generator that is wrong fails the test"
)]

use std::fmt::Write as _;

use provider_wasmi::WasmiEngineProvider;
use wapc_dialects::{Memories, Options, adapt};
use wapc_host::{Error, WapcHost};

/// Random numbers (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap() % limit
    }

    fn pick<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len())]
    }

    fn types(&mut self, most: usize) -> Vec<&'static str> {
        let number = self.below(most + 1);
        (0..number).map(|_| self.pick(&["i32", "i64"])).collect()
    }
}

/// A function of the library: its parameters and its result.
type Signature = (Vec<&'static str>, &'static str);

/// An expression over these locals and functions.
fn expression(
    random: &mut Random,
    ty: &str,
    locals: &[&str],
    functions: &[Signature],
    depth: usize,
) -> String {
    let inner = |random: &mut Random, ty: &str| match depth {
        0 => String::new(),
        _ => expression(random, ty, locals, functions, depth - 1),
    };
    let of_type: Vec<_> = (0..locals.len())
        .filter(|local| locals[*local] == ty)
        .collect();
    match random.below(9) {
        1 | 2 if depth > 0 => {
            let operator = random.pick(&["add", "sub", "mul", "and", "xor", "shl", "shr_u"]);
            let (a, b) = (inner(random, ty), inner(random, ty));
            format!("({ty}.{operator} {a} {b})")
        }
        3 if depth > 0 => {
            let (condition, a, b) = (inner(random, "i32"), inner(random, ty), inner(random, ty));
            format!("(if (result {ty}) {condition} (then {a}) (else {b}))")
        }
        4 if depth > 0 => {
            let at = inner(random, "i32");
            format!("({ty}.load (i32.and {at} (i32.const 1023)))")
        }
        5 if depth > 0 && !of_type.is_empty() => {
            let local = of_type[random.below(of_type.len())];
            format!("(local.tee {local} {})", inner(random, ty))
        }
        6 if depth > 0 => {
            let other = if ty == "i32" { "i64" } else { "i32" };
            let convert = if ty == "i32" {
                "i32.wrap_i64"
            } else {
                "i64.extend_i32_u"
            };
            format!("({convert} {})", inner(random, other))
        }
        7 | 8 if depth > 0 && functions.iter().any(|(_, result)| *result == ty) => {
            let fitting: Vec<_> = (0..functions.len())
                .filter(|at| functions[*at].1 == ty)
                .collect();
            let at = fitting[random.below(fitting.len())];
            let mut call = format!("(call $f{at}");
            for param in &functions[at].0 {
                _ = write!(call, " {}", inner(random, param));
            }
            call + ")"
        }
        _ if of_type.is_empty() || random.below(3) == 0 => {
            format!("({ty}.const {})", random.below(4000))
        }
        _ => format!("(local.get {})", of_type[random.below(of_type.len())]),
    }
}

/// A library with small functions and a guest that calls them.
fn modules(random: &mut Random) -> (String, String) {
    let (mut library, mut imports, mut functions) = (String::new(), String::new(), Vec::new());
    for number in 0..6 {
        let (params, result) = (random.types(3), random.pick(&["i32", "i64"]));
        let body = expression(random, result, &params, &[], 2);
        let signature = format!("(param {}) (result {result})", params.join(" "));
        _ = writeln!(
            library,
            "(func (export \"f{number}\") {signature}
                (global.set $count (i64.add (global.get $count) (i64.const {number})))
                {body})"
        );
        _ = writeln!(
            imports,
            "(import \"library\" \"f{number}\" (func $f{number} {signature}))"
        );
        functions.push((params, result));
    }
    let library = format!(
        "(module (memory 1) (global $count (mut i64) (i64.const 0))
            (data (i32.const 0) \"\\01\\02\\03\\ff\\fe\\00\\80\")
            (func (export \"count\") (result i64) (global.get $count)) {library})"
    );
    let mut run = String::new();
    for number in 0..8 {
        let at = 8 * number;
        let value = expression(random, "i64", &["i32", "i32", "i64", "i32"], &functions, 4);
        _ = writeln!(run, "(i64.store (i32.const {at}) {value})");
    }
    let guest = format!(
        r#"(module {imports}
            (import "library" "count" (func $count (result i64)))
            (import "wapc" "__guest_response" (func $respond (param i32 i32)))
            (memory (export "memory") 1)
            (func (export "__guest_call") (param i32 i32) (result i32) (local i64 i32)
                {run}
                (i64.store (i32.const 64) (call $count))
                (call $respond (i32.const 0) (i32.const 72))
                (i32.const 1)))"#
    );
    (guest, library)
}

#[test]
fn small_functions_do_the_same_in_place_of_calls() {
    let (mut random, mut changed) = (Random(0x1234_5678_9abc_def1), 0);
    for _ in 0..400 {
        let (guest, library) = modules(&mut random);
        let run = |inlines| {
            let options = Options::new().validates(true).inlines(inlines);
            let options = options.link("library", library.clone().into_bytes(), Memories::Own);
            let linked = adapt(guest.as_bytes(), &options)
                .unwrap()
                .binary
                .into_owned();
            let provider = WasmiEngineProvider::new(&linked).unwrap();
            let host = WapcHost::new(Box::new(provider), |_, _, _, _, _| Ok(vec![])).unwrap();
            let answers: Vec<Result<_, Error>> =
                vec![host.call("a", b""), host.call("operation", b"payload")];
            let answers: Vec<_> = answers
                .into_iter()
                .map(|answer| answer.map_err(|error| error.report().to_string()))
                .collect();
            (linked, answers)
        };
        let ((called, expected), (put, found)) = (run(false), run(true));
        assert_eq!(found, expected, "{guest}\n{library}");
        changed += usize::from(called != put);
    }
    assert!(changed > 300, "{changed} of 400 were changed");
}
