//! A version of the extension that was never published, and the update from it to the current one.
//!
//! One server sees them, in a copy of the directory with the extensions' scripts.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use pg_test::Result;
use pg_test::place::{pg_config_says, source};
use pg_test::plan::Plan;
use pg_test::process::checked;
use pg_test::rig::Rig;

pub const VERSION: &str = "0.9";

/// Follows the current install script, and makes its objects those of [`VERSION`].
const OLDER: &str = include_str!("older.sql");

/// A plan for a server on which `CREATE EXTENSION aadauth VERSION '0.9'` works.
pub fn plan(rig: &Rig, name: &str, current: &str) -> Result<Plan> {
    let place = PathBuf::from(pg_config_says("--sharedir")?).join("extension");
    let copy = rig.run().path().join(format!("scripts-{name}"));
    checked(Command::new("cp").arg("-a").arg(&place).arg(&copy))?;
    let install = fs::read_to_string(source().join(format!("sql/aadauth--{current}.sql")))?;
    write(&copy, VERSION, &(install.clone() + OLDER))?;
    write(&copy, &format!("{VERSION}--{current}"), &update(&install)?)?;
    Ok(rig.plan(name)?.mount(&copy, &place))
}

/// What leads from [`VERSION`] to the objects of the current install script.
fn update(install: &str) -> Result<String> {
    let view = statement(install, "CREATE VIEW aadauth.sign_ins AS")?;
    Ok([
        "DROP FUNCTION aadauth.retired()",
        "GRANT SELECT ON aadauth.sessions TO PUBLIC",
        &view.replacen("CREATE VIEW", "CREATE OR REPLACE VIEW", 1),
        // Replacing a view resets its options: without this one it shows, with its owner's privileges, what the
        // table's policies hide.
        statement(install, "ALTER VIEW aadauth.sign_ins SET")?,
        statement(install, "COMMENT ON ROLE azure_pg_admin IS")?,
    ]
    .map(|statement| format!("{statement};\n"))
    .concat())
}

/// The statement of a script that begins so.
fn statement<'a>(script: &'a str, beginning: &str) -> Result<&'a str> {
    script
        .find(beginning)
        .and_then(|start| script.get(start..))
        .and_then(|rest| rest.split(";\n").next())
        .ok_or_else(|| format!("the install script has no {beginning}").into())
}

fn write(directory: &Path, versions: &str, text: &str) -> Result<()> {
    Ok(fs::write(
        directory.join(format!("aadauth--{versions}.sql")),
        text,
    )?)
}
