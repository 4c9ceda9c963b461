//! The rooms of `src/` and their direction, on this repository and on small ones made for the purpose.

use std::fs;
use std::path::Path;

use source_check::imports::{Report, Rule, check};
use source_check::{Result, repository};
use tempfile::TempDir;

const PAGE: &str = "\
# Architecture

## Rooms

```text
lib              starts all
hooks            what calls us
left | right     one side | the other
pg               what we call
```
";

const FILES: &[(&str, &str)] = &[
    ("docs/architecture.md", PAGE),
    ("src/lib.rs", "mod hooks; mod left; mod right; mod pg;"),
    (
        "src/hooks.rs",
        "use crate::left::Thing; fn f() { unsafe {} }",
    ),
    ("src/left/mod.rs", "mod thing; pub use thing::Thing;"),
    ("src/left/thing.rs", "pub struct Thing;"),
    ("src/right.rs", "use crate::pg::call;"),
    ("src/pg.rs", "pub fn call() {}"),
];

/// A repository like `FILES`, with some of the files replaced.
fn report(replaced: &[(&str, &str)]) -> Result<Report> {
    let root = TempDir::new()?;
    for (path, text) in FILES.iter().chain(replaced) {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap_or(Path::new("/")))?;
        fs::write(path, text)?;
    }
    check(root.path())
}

/// Exactly these are found: the rule, the place, and a part of the text.
fn expect(replaced: &[(&str, &str)], expected: &[(Rule, &str, &str)]) -> Result<()> {
    let report = report(replaced)?;
    assert!(report.edges > 0, "no import was looked at");
    assert_eq!(report.violations.len(), expected.len(), "{report}");
    for (found, (rule, place, text)) in report.violations.iter().zip(expected) {
        assert_eq!(found.rule, *rule, "{report}");
        assert_eq!(format!("{}:{}", found.file, found.line), *place, "{report}");
        assert!(found.text.contains(text), "{report}");
    }
    Ok(())
}

#[test]
fn this_repository() -> Result<()> {
    let report = check(repository()?)?;
    assert!(
        report.edges > 500,
        "only {} imports were found",
        report.edges
    );
    assert!(report.violations.is_empty(), "\n{report}");
    Ok(())
}

#[test]
fn downward_imports_pass() -> Result<()> {
    expect(&[], &[])
}

#[test]
fn upward_imports_are_found_in_every_form() -> Result<()> {
    for text in [
        "use crate::right::X;",
        "use super::right::{X as Y};",
        "fn f() { use crate::right::X; }",
        "fn f() { crate::right::x(); }",
        "fn f(x: crate::right::X) {}",
        "fn f() { println!(\"{}\", crate::right::X); }",
        "macro_rules! m { () => { $crate::right::X } }",
    ] {
        let files = [("src/pg.rs", text), ("src/right.rs", "pub struct X;")];
        let expected = (
            Rule::Direction,
            "src/pg.rs:1",
            "pg imports right, which is above it",
        );
        expect(&files, &[expected])?;
    }
    Ok(())
}

#[test]
fn rooms_of_one_line_do_not_import_each_other() -> Result<()> {
    expect(
        &[("src/right.rs", "\nuse crate::left::Thing;")],
        &[(
            Rule::Direction,
            "src/right.rs:2",
            "left, which is beside it: crate::left::Thing",
        )],
    )
}

#[test]
fn a_module_that_was_imported_leads_on() -> Result<()> {
    let files = [
        ("src/left/thing.rs", "pub struct Thing;\npub fn x() {}"),
        ("src/left/mod.rs", "pub mod thing; pub use thing::Thing;"),
        ("src/pg.rs", "use crate::left;\nfn f() { left::thing::x() }"),
        ("src/right.rs", ""),
    ];
    expect(
        &files,
        &[
            (Rule::Direction, "src/pg.rs:1", "left"),
            (Rule::Direction, "src/pg.rs:2", "left::thing::x"),
        ],
    )
}

#[test]
fn tests_may_import_anything() -> Result<()> {
    let text = "pub fn call() {} #[cfg(test)] mod tests { use crate::right::X; }
        #[cfg(test)] use crate::hooks;";
    expect(&[("src/pg.rs", text)], &[])
}

#[test]
fn the_picture_has_every_room() -> Result<()> {
    let lib = "mod hooks; mod left; mod right; mod pg; mod cellar;";
    expect(
        &[("src/lib.rs", lib), ("src/cellar.rs", "")],
        &[(
            Rule::Picture,
            "src/cellar.rs:1",
            "cellar is not in docs/architecture.md",
        )],
    )
}

#[test]
fn every_room_of_the_picture_is_there() -> Result<()> {
    expect(
        &[("src/lib.rs", "mod hooks; mod left; mod pg;")],
        &[(
            Rule::Picture,
            "docs/architecture.md:8",
            "src/ has no room right",
        )],
    )
}

#[test]
fn a_picture_that_cannot_be_read_is_an_error() {
    let page = PAGE.replace("one side | the other", "both sides");
    let error = report(&[("docs/architecture.md", &page)]).err();
    assert!(error.is_some_and(|e| e.to_string().contains("not one description per room")));
    assert!(report(&[("docs/architecture.md", "# Architecture")]).is_err());
}

#[test]
fn circles_of_files_are_found() -> Result<()> {
    let files = [
        (
            "src/left/mod.rs",
            "mod thing; mod other; pub use thing::Thing;",
        ),
        (
            "src/left/thing.rs",
            "use super::other::Other;\npub struct Thing;",
        ),
        ("src/left/other.rs", "pub struct Other;\nuse super::Thing;"),
    ];
    expect(
        &files,
        &[(
            Rule::Circle,
            "src/left/other.rs:2",
            "src/left/thing.rs:1 needs src/left/other.rs (super::other::Other)",
        )],
    )
}

#[test]
fn circles_in_crates_are_found() -> Result<()> {
    let files = [
        ("crates/one/src/lib.rs", "mod a; mod b;"),
        ("crates/one/src/a.rs", "use crate::b::B; pub struct A;"),
        ("crates/one/src/b.rs", "use crate::a::A; pub struct B;"),
    ];
    expect(
        &files,
        &[(
            Rule::Circle,
            "crates/one/src/a.rs:1",
            "2 files lead to each other",
        )],
    )
}

#[test]
fn a_module_file_that_passes_on_its_children_closes_no_circle() -> Result<()> {
    let thing = "use super::COUNT; pub struct Thing;";
    let passes_on = "mod thing; pub use thing::Thing; pub const COUNT: u8 = 1;";
    expect(
        &[("src/left/mod.rs", passes_on), ("src/left/thing.rs", thing)],
        &[],
    )?;
    let uses = "mod thing; use thing::Thing; pub const COUNT: u8 = 1;";
    expect(
        &[("src/left/mod.rs", uses), ("src/left/thing.rs", thing)],
        &[(
            Rule::Circle,
            "src/left/mod.rs:1",
            "src/left/thing.rs:1 needs src/left/mod.rs",
        )],
    )
}

#[test]
fn unsafe_code_stays_in_its_rooms() -> Result<()> {
    expect(&[("src/pg.rs", "pub fn call() { unsafe {} }")], &[])?;
    let of_type = "use crate::pg::call;\ntype F = unsafe extern \"C\" fn(usize);";
    expect(&[("src/right.rs", of_type)], &[])?;
    for text in [
        "fn f() { unsafe {} }",
        "unsafe fn f() {}",
        "unsafe extern \"C\" fn f() {}",
        "unsafe impl Send for X {}",
        "#![allow(unsafe_code)]",
        "fn f() { m!(unsafe {}) }",
    ] {
        let expected = (Rule::Unsafe, "src/right.rs:1", "unsafe code");
        let files = [
            ("src/right.rs", text),
            ("src/hooks.rs", "use crate::pg::call;"),
        ];
        expect(&files, &[expected])?;
    }
    Ok(())
}

#[test]
fn text_is_converted_where_it_crosses_the_sql_boundary() -> Result<()> {
    let use_of_pg = "use crate::pg::call;\n";
    for text in [
        "#[pg_extern(schema = \"x\")] fn f(a: Option<SqlText>, b: i32) -> SqlText { String::new() }",
        "fn f() { row.get::<SqlText>(1); row.get::<i64>(1); let x: Vec<String> = names.collect(); }",
        "fn get(text: &str) -> String { text.to_owned() }",
    ] {
        expect(&[("src/right.rs", &format!("{use_of_pg}{text}"))], &[])?;
    }
    for text in [
        "#[pg_extern] fn f(a: Option<&str>) {}",
        "#[pgrx::pg_extern(immutable)] #[search_path(x)] fn f() -> String { x }",
        "#[pg_extern] fn f() -> TableIterator<'static, (name!(a, &'static str), name!(b, i32))> {}",
        "fn f() { row.get::<String>(1) }",
        "fn f() { rows.first().get_two::<i32, Option<String>>() }",
        "fn f() { query::one::<String>(x) }",
    ] {
        let files = [("src/right.rs", format!("{use_of_pg}{text}"))];
        let files = files.each_ref().map(|(path, text)| (*path, text.as_str()));
        expect(
            &files,
            &[(Rule::Text, "src/right.rs:2", "pg::text::SqlText")],
        )?;
    }
    Ok(())
}
