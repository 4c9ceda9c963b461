//! What the documents list is what the program has.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;

use entra_token::Reason;
use pg_test::Result;
use pg_test::place::{RunDirectory, source};
use pg_test::plan::Plan;
use pg_test::process::checked;

use crate::documents;

/// The rows of the tables of a document, cells without backticks. Headings are among them.
fn rows(name: &str) -> Result<Vec<Vec<String>>> {
    let text = fs::read_to_string(source().join(name))?;
    Ok(text
        .lines()
        .filter(|line| line.starts_with('|') && !line.starts_with("|-") && !line.starts_with("| -"))
        .map(|line| {
            line.trim_matches('|')
                .split(" | ")
                .map(|cell| cell.trim().replace('`', ""))
                .collect()
        })
        .collect())
}

fn expect(condition: bool, otherwise: String) -> Result<()> {
    if condition {
        Ok(())
    } else {
        Err(otherwise.into())
    }
}

/// docs/reasons.md has a row for each reason: its code, what it means and what to do, in the program's
/// own words.
pub fn reasons() -> Result<()> {
    let rows = rows("docs/reasons.md")?;
    let mut codes = BTreeSet::new();
    for reason in Reason::ALL {
        let row = rows
            .iter()
            .find(|row| row.first().is_some_and(|code| code == reason.code()))
            .ok_or_else(|| format!("docs/reasons.md lacks {}", reason.code()))?;
        let meaning = row.get(1).map(String::as_str).unwrap_or_default();
        expect(
            meaning == reason.description(),
            format!(
                "{}: docs/reasons.md says {meaning:?}, not {:?}",
                reason.code(),
                reason.description()
            ),
        )?;
        let advice = row.get(2).map(String::as_str).unwrap_or_default();
        expect(
            advice == reason.advice(),
            format!(
                "{}: docs/reasons.md advises {advice:?}, not {:?}",
                reason.code(),
                reason.advice()
            ),
        )?;
        codes.insert(reason.code());
    }
    for row in &rows {
        let code = row.first().map(String::as_str).unwrap_or_default();
        expect(
            code == "Code" || codes.contains(code),
            format!("there is no reason {code}"),
        )?;
    }
    Ok(())
}

/// docs/overview/overview.svg is what its script draws.
pub fn overview() -> Result<()> {
    let directory = source().join("docs/overview");
    let drawn = checked(Command::new("python3").arg(directory.join("draw.py")))?;
    let kept = fs::read_to_string(directory.join("overview.svg"))?;
    expect(
        drawn == kept,
        "run docs/overview/draw.py > docs/overview/overview.svg".to_owned(),
    )
}

/// docs/check-configuration.md has a row for each code, under its severity and in the program's words, and
/// docs/pgbouncer.md one for each of PgBouncer's checker.
pub fn findings() -> Result<()> {
    findings_in(
        "src/diagnosis/finding.rs",
        "docs/check-configuration.md",
        "## ",
        40,
    )?;
    findings_in(
        "crates/pam-pooler/src/check/finding.rs",
        "docs/pgbouncer.md",
        "### ",
        21,
    )
}

/// `least` is how many codes and severities there are at least: none would be a test that compares nothing.
fn findings_in(program: &str, document: &str, heading: &str, least: usize) -> Result<()> {
    let text = fs::read_to_string(source().join(program))?;
    let table = text
        .split_once("\ncodes! {")
        .and_then(|(_, rest)| rest.split_once("\n}\n"))
        .ok_or_else(|| format!("{program} has no table of codes"))?
        .0;
    let mut expected = Vec::new();
    for line in table.lines().map(str::trim) {
        if let Some(severity) = line.strip_suffix(" {") {
            expected.push(format!("{heading}{severity}s"));
        } else if let Some(meaning) = line.strip_prefix('"') {
            if let Some(row) = expected.last_mut() {
                row.push_str(&format!(" {}", meaning.trim_end_matches('"')));
            }
        } else if let Some((_, code)) = line.split_once(" \"") {
            expected.push(code.trim_end_matches('"').to_owned());
        }
    }
    expect(expected.len() >= least, format!("only {expected:?}"))?;
    let text = fs::read_to_string(source().join(document))?;
    let documented: Vec<String> = text
        .lines()
        .skip_while(|line| *line != format!("{heading}Errors"))
        .take_while(|line| line.starts_with(heading) || !line.starts_with("## "))
        .filter(|line| line.starts_with(heading) || line.starts_with("| `"))
        .map(|line| match line.strip_prefix(heading) {
            Some(_) => line.to_owned(),
            None => line
                .trim_matches(['|', ' '])
                .replace('`', "")
                .replace(" | ", " "),
        })
        .collect();
    for (row, line) in expected.iter().zip(&documented) {
        expect(
            row == line,
            format!("{program} has {row:?}, {document} {line:?}"),
        )?;
    }
    expect(
        expected.len() == documented.len(),
        format!(
            "{document}: {} rows, not {}",
            documented.len(),
            expected.len()
        ),
    )
}

/// docs/configuration.md has a row for each setting: its name, default, and whether a change requires a restart.
pub fn settings() -> Result<()> {
    let run = RunDirectory::create()?;
    let server = Plan::new("settings")?
        .set("shared_preload_libraries", "aadauth")
        .start(&run)?;
    let listed = server.sql(
        "SELECT name, boot_val, unit,
                CASE context WHEN 'sighup' THEN 'reload' WHEN 'postmaster' THEN 'restart' WHEN 'user' THEN 'session' ELSE context END
         FROM pg_settings WHERE name LIKE 'aad\\_%' OR name LIKE 'aadauth.%' OR name LIKE 'pgaadauth.%'",
    )?;
    let settings: Vec<Vec<&str>> = listed
        .lines()
        .map(|line| line.split('|').collect())
        .collect();
    let actual: BTreeMap<&str, (String, &str)> = settings
        .iter()
        .map(|cells| (cells[0], (as_written(cells[1], cells[2]), cells[3])))
        .collect();
    expect(
        !actual.is_empty(),
        "the server has no settings of ours".to_owned(),
    )?;
    let rows = rows("docs/configuration.md")?;
    let documented: BTreeMap<&str, (String, &str)> = rows
        .iter()
        .filter(|row| row.len() >= 3)
        .filter(|row| row[0].contains("aadauth.") || row[0].starts_with("aad_"))
        .map(|row| {
            let change = if row[2].contains("requires a restart") {
                "restart"
            } else if row[2].contains("Only with SET") {
                "session"
            } else {
                "reload"
            };
            (row[0].as_str(), (row[1].clone(), change))
        })
        .collect();
    for (name, values) in &actual {
        expect(
            documented.get(name) == Some(values),
            format!(
                "{name}: the server has {values:?}, the document {:?}",
                documented.get(name)
            ),
        )?;
    }
    for name in documented.keys() {
        expect(
            actual.contains_key(name),
            format!("there is no setting {name}"),
        )?;
    }
    Ok(())
}

/// A default as people write it: with the largest unit that divides it, and a word for the empty text.
fn as_written(value: &str, unit: &str) -> String {
    let units: &[(i64, &str)] = match unit {
        "s" => &[(86_400, "d"), (3600, "h"), (60, "min"), (1, "s")],
        "min" => &[(1440, "d"), (60, "h"), (1, "min")],
        "B" => &[(1024, "kB"), (1, "B")],
        "kB" => &[(1024 * 1024, "GB"), (1024, "MB"), (1, "kB")],
        _ => &[],
    };
    if value.is_empty() {
        return "none".to_owned();
    }
    let number = value.parse::<i64>().ok().filter(|number| *number > 0);
    number
        .and_then(|number| {
            let (size, name) = units.iter().find(|(size, _)| number % size == 0)?;
            Some(format!("{}{name}", number / size))
        })
        .unwrap_or_else(|| format!("{value}{unit}"))
}

/// Relative links lead to files that are there.
pub fn links() -> Result<()> {
    let others = ["CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"].map(|name| source().join(name));
    for document in documents().into_iter().chain(others) {
        let text = fs::read_to_string(&document)?;
        for rest in text.split("](").skip(1) {
            let target = rest.split(')').next().unwrap_or_default();
            if target.contains("://") || target.starts_with('#') {
                continue;
            }
            let path = target.split('#').next().unwrap_or_default();
            let place = document.parent().unwrap_or(&document).join(path);
            expect(
                place.exists(),
                format!("{}: nothing at {target}", document.display()),
            )?;
        }
    }
    Ok(())
}

/// The text of a module of a test program, with that of the modules in it.
fn test_module(program: &str, name: &str) -> Result<String> {
    let place = source().join("pg_test/tests").join(program).join(name);
    let mut text = fs::read_to_string(place.with_extension("rs"))?;
    for part in fs::read_dir(place).into_iter().flatten() {
        text += &fs::read_to_string(part?.path())?;
    }
    Ok(text)
}

/// docs/security.md names a test for each threat: `module::test` of the sign-in tests,
/// `pooler/module::test` of those with PgBouncer, or `token: test` of the token rules.
pub fn tests_named() -> Result<()> {
    let mut named = 0;
    for row in rows("docs/security.md")? {
        let Some(tests) = row.get(2).filter(|cell| cell.contains("::")) else {
            continue;
        };
        for test in tests.split(", ") {
            let (module, name) = test
                .split_once("::")
                .ok_or_else(|| format!("no test: {test}"))?;
            if module == "token" {
                expect(
                    entra_emulator::Deviation::named(name).is_some(),
                    format!("docs/security.md: there is no deviation {name}"),
                )?;
            } else {
                let tests = match module.split_once('/') {
                    Some((program, module)) => test_module(program, module),
                    None => test_module("sign_in", module),
                };
                let tests = tests.map_err(|_| format!("{test}: no such module"))?;
                expect(
                    tests.contains(&format!("\"{name}\"")),
                    format!("docs/security.md: there is no test {test}"),
                )?;
            }
            named += 1;
        }
    }
    expect(named > 20, format!("only {named} tests are named"))
}
