//! `META.json`, by the PGXN Meta Spec, version 1 (<https://pgxn.org/spec/>).

use std::fs;

use pg_test::Result;
use pg_test::place::source;
use pg_test::rig::ensure;
use serde_json::{Map, Value};

/// One test, which needs no machine.
type Test = (&'static str, fn() -> Result<()>);

pub const TESTS: &[Test] = &[
    ("meets_the_requirements_of_pgxn", required),
    ("agrees_with_the_sources", agrees),
];

fn required() -> Result<()> {
    let meta = meta()?;
    for key in ["name", "abstract", "version", "maintainer", "license"] {
        text(&meta, key)?;
    }
    // "It MUST be at least two characters long", without characters that file names can't have.
    let name = text(&meta, "name")?;
    ensure(
        name.len() >= 2 && !name.contains(|c: char| c.is_whitespace() || "/\\:".contains(c)),
        || format!("no name: {name}"),
    )?;
    // Of the short license names in the specification.
    ensure(text(&meta, "license")? == "postgresql", || {
        "another license than LICENSE".to_owned()
    })?;
    ensure(
        ["stable", "testing", "unstable"].contains(&text(&meta, "release_status")?),
        || "no release status".to_owned(),
    )?;
    semantic(text(&meta, "version")?)?;
    let spec = object(&meta, "meta-spec")?;
    ensure(text(spec, "version")? == "1.0.0", || {
        "which specification?".to_owned()
    })?;
    let provides = object(&meta, "provides")?;
    ensure(provides.contains_key(name), || {
        "provides nothing".to_owned()
    })?;
    for (extension, _) in provides {
        let provided = object(provides, extension)?;
        semantic(text(provided, "version")?)?;
        for key in ["file", "docfile"] {
            if key == "docfile" && !provided.contains_key(key) {
                continue;
            }
            let file = source().join(text(provided, key)?);
            ensure(file.is_file(), || format!("there is no {}", file.display()))?;
        }
    }
    let requires = object(object(object(&meta, "prereqs")?, "runtime")?, "requires")?;
    semantic(text(requires, "PostgreSQL")?)
}

/// A release that forgets this file would be refused by PGXN, or replace another.
fn agrees() -> Result<()> {
    let meta = meta()?;
    let manifest = fs::read_to_string(source().join("Cargo.toml"))?;
    let release = quoted(&manifest, "version = \"", '"')?;
    ensure(text(&meta, "version")? == release, || {
        format!("META.json is not of version {release}, as Cargo.toml is")
    })?;
    ensure(
        text(&meta, "abstract")? == quoted(&manifest, "description = \"", '"')?,
        || "the abstract is not the description in Cargo.toml".to_owned(),
    )?;
    let provides = object(&meta, "provides")?;
    for (extension, control) in [
        ("aadauth", "aadauth.control"),
        ("pgaadauth", "sql/pgaadauth.control"),
    ] {
        let control = fs::read_to_string(source().join(control))?;
        let version = quoted(&control, "default_version = '", '\'')?;
        let provided = object(provides, extension)?;
        ensure(text(provided, "version")? == format!("{version}.0"), || {
            format!("{extension} is not of version {version}, as its control file is")
        })?;
        ensure(
            text(provided, "file")? == format!("sql/{extension}--{version}.sql"),
            || format!("the file of {extension} is not that of {version}"),
        )?;
    }
    Ok(())
}

fn meta() -> Result<Map<String, Value>> {
    let text = fs::read_to_string(source().join("META.json"))?;
    Ok(serde_json::from_str(&text)?)
}

fn text<'a>(of: &'a Map<String, Value>, key: &str) -> Result<&'a str> {
    of.get(key)
        .and_then(Value::as_str)
        .filter(|text| !text.is_empty())
        .ok_or_else(|| format!("{key} is missing or no text").into())
}

fn object<'a>(of: &'a Map<String, Value>, key: &str) -> Result<&'a Map<String, Value>> {
    of.get(key)
        .and_then(Value::as_object)
        .ok_or_else(|| format!("{key} is missing or no object").into())
}

/// Semantic Versioning, as far as it is used here: three numbers.
fn semantic(version: &str) -> Result<()> {
    let numbers: Vec<&str> = version.split('.').collect();
    ensure(
        numbers.len() == 3 && numbers.iter().all(|number| number.parse::<u32>().is_ok()),
        || format!("{version} is no semantic version"),
    )
}

fn quoted<'a>(text: &'a str, before: &str, end: char) -> Result<&'a str> {
    text.split_once(before)
        .and_then(|(_, rest)| rest.split_once(end))
        .map(|(value, _)| value)
        .ok_or_else(|| format!("there is no {before}").into())
}
