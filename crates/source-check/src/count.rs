//! What is counted before and after a change: lines, findings, files, tests.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use proc_macro2::{TokenStream, TokenTree};
use quote::ToTokens;
use syn::Item;
use syn::visit_mut::{self, VisitMut};

use crate::Result;
use crate::modules::Crate;
use crate::source::{Source, attributes, files};

/// Where the codes of `aadauth.check_configuration` are listed, by the macro `codes!`.
const CODES: &str = "src/diagnosis/finding.rs";

#[derive(Clone, Copy, Default)]
struct Lines {
    files: usize,
    code: usize,
    tests: usize,
}

impl Lines {
    fn add(&mut self, other: Lines) {
        self.files += other.files;
        self.code += other.code;
        self.tests += other.tests;
    }
}

/// A table of it all. Lines are those without comments and blanks.
pub fn count(root: &Path) -> Result<String> {
    let mut text = format!("{:28} {:>6} {:>8} {:>8}\n", "", "files", "code", "tests");
    let rooms = rooms(root)?;
    table(&mut text, &rooms, "src in all");
    text.push('\n');
    let mut crates = BTreeMap::new();
    for file in files(root, "crates", &["rs"])? {
        let name = file.split('/').take(2).collect::<Vec<_>>().join("/");
        let is_code = ["/src/", "/examples/"]
            .iter()
            .any(|part| file.contains(part))
            && !file.ends_with("/tests.rs");
        let lines: &mut Lines = crates.entry(name).or_default();
        lines.add(lines_of(root, &file, is_code)?);
    }
    for file in files(root, "pg_test", &["rs"])? {
        let lines: &mut Lines = crates.entry("pg_test".to_owned()).or_default();
        lines.add(lines_of(root, &file, false)?);
    }
    table(&mut text, &crates, "crates and pg_test in all");
    text += &format!("\ncheck_configuration: {} findings\n\n", codes(root)?);
    text += &tests(root)?;
    Ok(text)
}

fn table(text: &mut String, rows: &BTreeMap<String, Lines>, total: &str) {
    let mut sum = Lines::default();
    let row = |name: &str, lines: Lines| {
        format!(
            "{name:28} {:6} {:8} {:8}\n",
            lines.files, lines.code, lines.tests
        )
    };
    for (name, lines) in rows {
        *text += &row(name, *lines);
        sum.add(*lines);
    }
    *text += &row(total, sum);
}

fn rooms(root: &Path) -> Result<BTreeMap<String, Lines>> {
    let reached = Crate::read(root, "src/lib.rs")?;
    let mut rooms: BTreeMap<String, Lines> = BTreeMap::new();
    for file in files(root, "src", &["rs", "c", "h"])? {
        let mut parts = file.splitn(3, '/').skip(1);
        let room = parts.next().unwrap_or_default();
        let name = if file.ends_with(".rs") {
            format!("src/{room}")
        } else {
            format!("src/{room}, C")
        };
        let is_code = !file.ends_with(".rs") || reached.sources.contains_key(&file);
        rooms
            .entry(name)
            .or_default()
            .add(lines_of(root, &file, is_code)?);
    }
    Ok(rooms)
}

fn lines_of(root: &Path, file: &str, is_code: bool) -> Result<Lines> {
    let (code, tests) = if file.ends_with(".rs") {
        Source::read(root, file)?.lines()
    } else {
        (c_lines(&fs::read_to_string(root.join(file))?), 0)
    };
    let (code, tests) = if is_code {
        (code, tests)
    } else {
        (0, code + tests)
    };
    Ok(Lines {
        files: 1,
        code,
        tests,
    })
}

/// Lines of C with more than a comment. No string of ours has the signs of one.
fn c_lines(text: &str) -> usize {
    let mut inside = false;
    let mut count = 0;
    for line in text.lines() {
        let mut rest = line;
        let mut code = String::new();
        while !rest.is_empty() {
            if inside {
                match rest.split_once("*/") {
                    Some((_, after)) => (inside, rest) = (false, after),
                    None => rest = "",
                }
            } else {
                match rest.split_once("/*") {
                    Some((before, after)) => {
                        code += before;
                        (inside, rest) = (true, after);
                    }
                    None => {
                        code += rest.split("//").next().unwrap_or_default();
                        rest = "";
                    }
                }
            }
        }
        count += usize::from(!code.trim().is_empty());
    }
    count
}

/// Each code is a name followed by a literal in the macro.
fn codes(root: &Path) -> Result<usize> {
    fn pairs(tokens: TokenStream) -> usize {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let here = tokens
            .windows(2)
            .filter(|pair| matches!(pair, [TokenTree::Ident(_), TokenTree::Literal(_)]))
            .count();
        let inside = tokens.into_iter().map(|token| match token {
            TokenTree::Group(group) => pairs(group.stream()),
            _ => 0,
        });
        here + inside.sum::<usize>()
    }
    let source = Source::read(root, CODES)?;
    let found: usize = source
        .code
        .items
        .iter()
        .map(|item| match item {
            Item::Macro(item) if item.mac.path.is_ident("codes") => pairs(item.mac.tokens.clone()),
            _ => 0,
        })
        .sum();
    if found == 0 {
        return Err(format!("{CODES} has no codes! with codes in it").into());
    }
    Ok(found)
}

/// Tests of one kind in one place.
#[derive(Default)]
struct Tests {
    kinds: BTreeMap<&'static str, usize>,
}

impl VisitMut for Tests {
    fn visit_item_fn_mut(&mut self, function: &mut syn::ItemFn) {
        for attribute in attributes(&function.to_token_stream()) {
            let name = attribute
                .path()
                .segments
                .last()
                .map(|s| s.ident.to_string());
            if name.as_deref() == Some("test") {
                *self.kinds.entry("#[test]").or_default() += 1;
            }
        }
        visit_mut::visit_item_fn_mut(self, function);
    }

    /// A table of libtest-mimic: a constant list of pairs of a name and a function.
    fn visit_item_const_mut(&mut self, item: &mut syn::ItemConst) {
        if item.ident == "TESTS"
            && let syn::Expr::Reference(list) = item.expr.as_ref()
            && let syn::Expr::Array(list) = list.expr.as_ref()
        {
            *self.kinds.entry("TESTS").or_default() += list.elems.len();
        }
    }
}

fn tests(root: &Path) -> Result<String> {
    let mut rows: BTreeMap<String, Tests> = BTreeMap::new();
    for folder in ["src", "crates", "pg_test"] {
        for path in files(root, folder, &["rs"])? {
            let depth = if folder == "pg_test" { 3 } else { 2 };
            let depth = if folder == "src" { 1 } else { depth };
            let place = path.split('/').take(depth).collect::<Vec<_>>().join("/");
            let mut file: syn::File = syn::parse_str(&fs::read_to_string(root.join(&path))?)?;
            rows.entry(place).or_default().visit_file_mut(&mut file);
        }
    }
    let kinds = ["#[test]", "TESTS"];
    let mut text = format!("{:28}", "");
    text += &kinds.map(|kind| format!("{kind:>11}")).concat();
    text.push('\n');
    let mut sums = BTreeMap::new();
    for (place, tests) in &rows {
        if tests.kinds.is_empty() {
            continue;
        }
        text += &format!("{place:28}");
        for kind in kinds {
            let count = tests.kinds.get(kind).copied().unwrap_or_default();
            *sums.entry(kind).or_insert(0) += count;
            text += &format!("{count:11}");
        }
        text.push('\n');
    }
    text += &format!("{:28}", "in all");
    text += &kinds
        .map(|kind| format!("{:11}", sums.get(kind).copied().unwrap_or_default()))
        .concat();
    text.push('\n');
    Ok(text)
}
