//! pgAdmin, in a browser.

use std::fs;
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use pg_test::Result;
use pg_test::place::{node, source, target};
use pg_test::process::{Owned, checked};
use pg_test::rig::{Rig, ensure};
use pg_test::set_up::free_port;
use pg_test::wait::{until, until_within};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::node::packages;
use crate::page::block;
use crate::python::package_version;
use crate::surroundings::{ALICE, EXPIRED, GUEST, path};
use crate::{Installed, Test};

pub const TESTS: &[Test] = &[("signs_in_from_its_page", signs_in)];

pub const INSTALLED: &[Installed] = &[("pgAdmin 4", || {
    package_version(&installed("python"), "pgadmin4")
})];

/// With the page's command; with a command that gets an expired token; with tokens pasted for the password, the first
/// of which has expired.
fn signs_in(rig: &Rig) -> Result<()> {
    let pgadmin = PgAdmin::start(rig)?;
    let printed = checked(
        Command::new(node())
            .arg(source().join("pg_test/clients/pgadmin.js"))
            .env("NODE_PATH", packages())
            .env("PGADMIN", format!("http://127.0.0.1:{}", pgadmin.port))
            .env("EXPIRED", rig.user(GUEST).expires_in(-3600).text()?)
            .env("TOKEN", rig.user(GUEST).text()?),
    )?;
    let lines: Vec<&str> = printed.lines().collect();
    let [by_command, late_command, late_paste, by_paste] = lines[..] else {
        return Err(printed.into());
    };
    let as_wanted = by_command == format!("contoso: {ALICE}")
        && late_command.contains(EXPIRED)
        && late_paste.contains(EXPIRED)
        && by_paste == "pasted: Server connected.";
    ensure(as_wanted, || printed.clone())?;

    // A connection for the tree and one for the Query Tool, each with a token of its own.
    let calls = fs::read_to_string(pgadmin.home.join("az-calls"))?;
    let expected = [
        format!("{ALICE} authenticated {ALICE} {}", calls.lines().count()),
        format!("{ALICE} expired {ALICE} 1"),
        format!("{GUEST} authenticated bob@fabrikam.com 1"),
        format!("{GUEST} expired bob@fabrikam.com 1"),
    ];
    ensure(calls.lines().count() == 2, || calls)?;
    let expected = expected.join("\n");
    until("the audit has the sign-ins of pgAdmin", || {
        Ok((rig.server.sql(AUDITED)? == expected).then_some(()))
    })
    .or_else(|error| Err(format!("{error}: {}", rig.server.sql(AUDITED)?).into()))
}

/// Role, outcome, principal, and how many tokens.
const AUDITED: &str = "
SELECT concat_ws(' ', role, coalesce(reason, outcome), upn, count(DISTINCT token_id))
FROM aadauth.sign_in_audit WHERE application_name LIKE 'pgAdmin 4%'
GROUP BY role, outcome, reason, upn ORDER BY 1";

/// A running pgAdmin in desktop mode, as the account of a desktop would run it.
struct PgAdmin {
    port: u16,
    home: PathBuf,
    _process: Owned,
}

impl PgAdmin {
    fn start(rig: &Rig) -> Result<PgAdmin> {
        let home = rig.run().path().join("pgadmin");
        fs::create_dir(&home)?;
        let port = free_port()?;
        fs::write(home.join("configuration.py"), configuration(&home, port))?;
        fs::write(home.join("servers.json"), servers(rig)?)?;
        checked(command(&home, "pgadmin4-cli").arg("setup-db"))?;
        let servers = home.join("servers.json");
        checked(
            command(&home, "pgadmin4-cli")
                .arg("load-servers")
                .arg(servers),
        )?;
        let log = fs::File::create(home.join("log"))?;
        let mut process = Owned::start(
            "pgAdmin",
            command(&home, "pgadmin4")
                .env("PATH", path()?)
                .env("EMULATOR_STATE", rig.emulator.state())
                .env("EMULATOR_USER", ALICE)
                .env("AZ_CALLS", home.join("az-calls"))
                .stdin(Stdio::null())
                .stdout(log.try_clone()?)
                .stderr(log),
            Signal::TERM,
        )?;
        until_within(Duration::from_secs(180), "pgAdmin listens", || {
            ensure(process.is_running()?, || "pgAdmin has ended".to_owned())?;
            Ok(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok())
        })?;
        Ok(PgAdmin {
            port,
            home,
            _process: process,
        })
    }
}

/// It asks for no master password, and looks for nothing in the network.
fn configuration(home: &Path, port: u16) -> String {
    format!(
        "SERVER_MODE = False
DATA_DIR = '{}'
DEFAULT_SERVER_PORT = {port}
MASTER_PASSWORD_REQUIRED = False
USE_OS_SECRET_STORAGE = False
UPGRADE_CHECK_ENABLED = False
AUTO_DISCOVER_SERVERS = False
",
        home.join("data").display()
    )
}

/// The page's file, with two more servers: one whose command gets an expired token, one without a command.
fn servers(rig: &Rig) -> Result<String> {
    let mut file: Value = serde_json::from_str(&block("json pgadmin")?)?;
    let servers = file["Servers"].as_object_mut().ok_or("no servers")?;
    let server = servers.get_mut("1").ok_or("no server 1")?;
    server["Host"] = json!("localhost");
    server["Port"] = json!(rig.server.port());
    server["ConnectionParameters"]["sslrootcert"] = json!(rig.emulator.authorities());
    let mut late = server.clone();
    late["Name"] = json!("late");
    late["PasswordExecCommand"] = json!(format!(
        "entra-emulator token --state \"$EMULATOR_STATE\" --user {ALICE} --with expired"
    ));
    let mut pasted = server.clone();
    pasted["Name"] = json!("pasted");
    pasted["Username"] = json!(GUEST);
    pasted["PasswordExecCommand"] = Value::Null;
    servers.insert("2".to_owned(), late);
    servers.insert("3".to_owned(), pasted);
    Ok(file.to_string())
}

/// One of pgAdmin's programs, with this directory as its home.
fn command(home: &Path, name: &str) -> Command {
    let mut command = Command::new(installed(name));
    command
        .env("HOME", home)
        .env("CONFIG_DISTRO_FILE_PATH", home.join("configuration.py"));
    command
}

/// Where `.ci/prerequisites all` installs pgAdmin.
fn installed(program: &str) -> PathBuf {
    target().join("tools/pgadmin/bin").join(program)
}
