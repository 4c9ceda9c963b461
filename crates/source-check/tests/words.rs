//! Words that are not used here, and that each pattern of the table finds what it should.

use source_check::words::{Table, summary};
use source_check::{Result, repository};

#[test]
fn this_repository() -> Result<()> {
    let (findings, files) = Table::read()?.check(repository()?)?;
    assert!(files > 300, "only {files} files were read");
    let list: Vec<String> = findings.iter().map(ToString::to_string).collect();
    let text = format!("{}\n\n{}", list.join("\n"), summary(&findings));
    assert!(findings.is_empty(), "\n{text}");
    Ok(())
}

/// A text with the pattern in it.
fn example(pattern: &str) -> String {
    pattern.replace('*', "ca")
}

fn found(path: &str, text: &str) -> Result<Vec<(String, usize)>> {
    let findings = Table::read()?.check_file(path, text)?;
    Ok(findings.into_iter().map(|f| (f.pattern, f.line)).collect())
}

#[test]
fn each_pattern_is_found_where_it_is_meant() -> Result<()> {
    let mut patterns = 0;
    for (pattern, strings_only) in Table::read()?.patterns() {
        patterns += 1;
        let text = example(pattern);
        let expected = (pattern.to_owned(), 2);
        let in_string = found("src/a.rs", &format!("\nconst A: &str = \"so {text} is\";"))?;
        assert!(in_string.contains(&expected), "{pattern} in a string");
        let in_macro = found(
            "src/a.rs",
            &format!("\nfn f() {{ log!(\"{}\") }}", text.to_uppercase()),
        )?;
        assert!(in_macro.contains(&expected), "{pattern} in a macro");
        let in_sql = found("sql/a.sql", &format!("\n-- {text}"))?;
        assert!(in_sql.contains(&expected), "{pattern} in SQL");
        let in_comment = found("src/a.rs", &format!("\n// {text}\n/// {text}\nfn f() {{}}"))?;
        assert_eq!(
            in_comment.contains(&expected),
            !strings_only,
            "{pattern} in a comment"
        );
        let in_page = found("README.md", &format!("\n{text}"))?;
        assert_eq!(
            in_page.contains(&expected),
            !strings_only,
            "{pattern} in a page"
        );
        if !strings_only {
            let name = text.replace(' ', "_");
            let in_name = found("src/a.rs", &format!("\nfn is_{name}_so() {{}}"))?;
            assert!(in_name.contains(&expected), "{pattern} in a name");
            let over_lines = found(
                "src/a.rs",
                &format!("\n// {}\n", text.replace(' ', "\n// ")),
            )?;
            assert!(over_lines.contains(&expected), "{pattern} over lines");
        }
    }
    assert!(patterns > 50);
    Ok(())
}

#[test]
fn other_words_are_not_found() -> Result<()> {
    for text in [
        "// amend, recommend, the, there, cancelled, emphasis, optimistic, last. Word",
        "const A: &str = \"the role's label, PostgreSQL's own; cannot\";",
        "fn f<'a>(x: &'a str) -> char { 't' }",
    ] {
        assert_eq!(found("src/a.rs", text)?, []);
    }
    Ok(())
}

#[test]
fn quotes_of_sql_and_escapes_hide_nothing() -> Result<()> {
    let expected = ("*n_t".replace('_', "'"), 1);
    for (path, text) in [
        ("sql/a.sql", "SELECT 'it isn__t';".replace('_', "'")),
        (
            "src/a.rs",
            r#"const A: &str = "a\nisn_t";"#.replace('_', "'"),
        ),
        (
            "src/a.rs",
            r##"const A: &str = r#"isn_t"#;"##.replace('_', "'"),
        ),
    ] {
        assert!(found(path, &text)?.contains(&expected), "{text}");
    }
    let comment = "/// It isn_t.\nfn f() {}".replace('_', "'");
    assert_eq!(found("src/a.rs", &comment)?, []);
    Ok(())
}

#[test]
fn modules_have_names_that_say_something() -> Result<()> {
    let name = "util".to_owned() + "s";
    let expected = [(format!("mod {name}"), 1)];
    assert_eq!(found(&format!("src/{name}.rs"), "")?, expected);
    assert_eq!(found("src/a.rs", &format!("mod {name} {{}}"))?, expected);
    Ok(())
}
