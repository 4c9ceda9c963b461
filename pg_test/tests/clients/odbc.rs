//! psqlODBC, from Python and from a program whose connection string is fixed.

use std::process::Command;

use pg_test::Result;
use pg_test::rig::{Rig, ensure};

use crate::page::block;
use crate::python::python;
use crate::surroundings::{ALICE, Ran, Who, run, signs_in};
use crate::versions::of_debian;
use crate::{Installed, Test};

pub const TESTS: &[Test] = &[
    ("psqlodbc", psqlodbc),
    ("psqlodbc_with_a_password_file", password_file),
    ("psqlodbc_without_sslmode", without_sslmode),
];

pub const INSTALLED: &[Installed] = &[("psqlODBC", || of_debian("odbc-postgresql"))];

fn psqlodbc(rig: &Rig) -> Result<()> {
    let code = block("python psqlODBC")?;
    signs_in(rig, || Ok(python(&code)))?;
    let more = "one, two = connect(), connect()\nprint(one is not two)";
    let three = run(rig, python(&format!("{code}{more}")), Who::User(ALICE))?;
    ensure(
        three.printed.output == format!("{ALICE}\nTrue") && three.az_calls == 3,
        || format!("{three:?}"),
    )
}

/// As `aadauth-token --every` keeps it.
fn password_file(rig: &Rig) -> Result<()> {
    let script = r#"
        file=$(mktemp)
        rm "$file"
        aadauth-token --from az --passfile "$file" --for '*:*:*:*' 2>/dev/null
        echo 'SELECT current_user' | isql -b -d, -k "$ODBC_CONNECTION;pqopt={passfile=$file}"
        rm "$file""#;
    let ran = shell(rig, script)?;
    ensure(ran.printed.output == ALICE, || format!("{ran:?}"))
}

/// The driver's default is no TLS.
fn without_sslmode(rig: &Rig) -> Result<()> {
    let ran = shell(rig, r#"isql -v -b -k "${ODBC_CONNECTION%;SSLmode*};PWD=x""#)?;
    let said = format!("{}{}", ran.printed.output, ran.printed.error);
    ensure(
        !ran.printed.success && said.contains("no encryption"),
        || format!("{ran:?}"),
    )
}

fn shell(rig: &Rig, script: &str) -> Result<Ran> {
    let mut shell = Command::new("sh");
    shell.args(["-ec", script]);
    run(rig, shell, Who::User(ALICE))
}
