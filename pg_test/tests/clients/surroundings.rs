//! What a client's program finds where it runs: in its environment, where to sign in and as whom; on its PATH, `az`,
//! in which that user is signed in. The code itself is what runs on Azure.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use pg_test::Result;
use pg_test::client::{Printed, without_pg_variables};
use pg_test::emulator::{AUDIENCE, AUDIENCE_V2_ID};
use pg_test::place::{source, target};
use pg_test::rig::{Rig, ensure};

use crate::page::variable;

/// Who signs in, under a role of the same name.
#[derive(Clone, Copy, Debug)]
pub enum Who {
    /// A user, by `az`.
    User(&'static str),
    /// A user whose token has expired when `az` hands it out.
    Late(&'static str),
    /// A user whose programs trust the system's CAs, none of which has signed the server's certificate.
    Distrusting(&'static str),
    /// A managed identity of the machine: the system-assigned one, or that of AZURE_CLIENT_ID.
    Identity(&'static str),
}

pub const ALICE: &str = "alice@contoso.com";
pub const GUEST: &str = "bob_fabrikam.com#EXT#@contoso.onmicrosoft.com";
pub const IDENTITY: &str = "vm-app";
pub const USER_ASSIGNED: &str = "batch";

/// Azure's database resource.
pub const OSSRDBMS: &str = "https://ossrdbms-aad.database.windows.net";

/// What an expired token is answered with.
pub const EXPIRED: &str = "access token has expired";

/// What a program printed, how often it has run `az`, and with which arguments.
#[derive(Debug)]
pub struct Ran {
    pub printed: Printed,
    pub az_calls: usize,
    pub az_arguments: String,
}

/// Maps the principals that the rig has not mapped, and lets the server take tokens of Azure's database resource.
pub fn prepare(mut rig: Rig) -> Result<Rig> {
    let audiences = format!("{AUDIENCE}, {AUDIENCE_V2_ID}, ossrdbms");
    rig.server
        .configure(&[("aadauth.audience", Some(&audiences))])?;
    rig.map(
        &rig.server,
        GUEST,
        "b0b00000-0000-4000-8000-000000000002",
        "user",
    )?;
    rig.map(
        &rig.server,
        USER_ASSIGNED,
        "ba7c0000-0000-4000-8000-000000000041",
        "service",
    )?;
    Ok(rig)
}

/// What the page sets for programs.
pub const VARIABLES: [&str; 10] = [
    "DATABASE_URL",
    "PGSSLROOTCERT",
    "PGHOST",
    "PGPORT",
    "PGDATABASE",
    "PGUSER",
    "PGSSLMODE",
    "ODBC_CONNECTION",
    "AADAUTH_AUDIENCE",
    "JDBC_URL",
];

const AUTHORITIES_OF_SYSTEM: &str = "/etc/ssl/certs/ca-certificates.crt";

/// The program signs in as a user and as a guest, and prints as whom. With an expired token it fails, and prints what
/// the server says; and it fails with a server that it cannot verify.
pub fn signs_in(rig: &Rig, program: impl Fn() -> Result<Command>) -> Result<()> {
    for who in [ALICE, GUEST] {
        prints(rig, program()?, Who::User(who), who)?;
    }
    fails(rig, program()?, Who::Late(ALICE), EXPIRED)?;
    verifies(rig, program()?)
}

/// The program fails, says why, and returns all that it says.
pub fn fails(rig: &Rig, program: Command, who: Who, why: &str) -> Result<String> {
    let ran = run(rig, program, who)?;
    let said = format!("{}{}", ran.printed.output, ran.printed.error);
    ensure(!ran.printed.success && said.contains(why), || {
        format!("{who:?}: {ran:?}")
    })?;
    Ok(said)
}

/// The program fails with a server that it cannot verify, and does not try without TLS, as libpq does by default.
pub fn verifies(rig: &Rig, program: Command) -> Result<()> {
    // All clients say "certificate" or "certification".
    let said = fails(rig, program, Who::Distrusting(ALICE), "certif")?;
    ensure(!said.contains("no encryption"), || said.clone())
}

/// On two connections, with a token for each.
pub fn signs_in_twice(rig: &Rig, program: Command) -> Result<()> {
    let expected = format!("{ALICE}\n{ALICE}");
    let ran = prints(rig, program, Who::User(ALICE), &expected)?;
    ensure(ran.az_calls == 2, || format!("{ran:?}"))
}

/// A program that opens two connections gets two tokens, for this resource.
pub fn renews(rig: &Rig, program: Command, resource: &str) -> Result<()> {
    let ran = prints(rig, program, Who::User(ALICE), ALICE)?;
    let mut calls = ran.az_arguments.lines();
    let is_right = |call: &str| call.contains(&format!("--resource {resource}"));
    ensure(ran.az_calls >= 2 && calls.all(is_right), || {
        format!("{ran:?}")
    })
}

/// The program runs as this principal, and prints this.
pub fn prints(rig: &Rig, program: Command, who: Who, expected: &str) -> Result<Ran> {
    let ran = run(rig, program, who)?;
    ensure(
        ran.printed.success && ran.printed.output == expected,
        || format!("{who:?}: {ran:?}"),
    )?;
    Ok(ran)
}

/// Runs a program.
pub fn run(rig: &Rig, mut program: Command, who: Who) -> Result<Ran> {
    static RUNS: AtomicU32 = AtomicU32::new(0);
    let (role, credential) = match who {
        Who::User(role) | Who::Late(role) | Who::Distrusting(role) => (role, "AzureCliCredential"),
        Who::Identity(role) => (role, "ManagedIdentityCredential"),
    };
    let authorities = match who {
        Who::Distrusting(_) => PathBuf::from(AUTHORITIES_OF_SYSTEM),
        _ => rig.emulator.authorities(),
    };
    let run = RUNS.fetch_add(1, Ordering::Relaxed);
    let home = rig.run().path().join(format!("home-{run}"));
    fs::create_dir(&home)?;
    let calls = home.join("az-calls");
    fs::write(&calls, "")?;
    without_pg_variables(&mut program);
    for name in VARIABLES {
        program.env(name, documented(rig, name, role, &authorities)?);
    }
    program
        .env("HOME", &home)
        .env("NODE_EXTRA_CA_CERTS", &authorities)
        .env("SSL_CERT_FILE", &authorities)
        .env("REQUESTS_CA_BUNDLE", rig.emulator.authorities())
        .env("AZURE_TOKEN_CREDENTIALS", credential)
        .env(
            "AZURE_POD_IDENTITY_AUTHORITY_HOST",
            rig.emulator.managed_identity_host(),
        )
        .env("EMULATOR_STATE", rig.emulator.state())
        .env("EMULATOR_USER", role)
        .env("AZ_CALLS", &calls)
        .env("PATH", path()?)
        .stdin(Stdio::null());
    if matches!(who, Who::Late(_)) {
        program.env("AZ_EXPIRED", "always");
    }
    let name = program.get_program().to_string_lossy().into_owned();
    let output = program
        .output()
        .map_err(|error| format!("{name}: {error}"))?;
    let az_arguments = fs::read_to_string(&calls)?;
    Ok(Ran {
        printed: output.into(),
        az_calls: az_arguments.lines().count(),
        az_arguments,
    })
}

/// What the page has for a variable, for this server and role; in URLs, `@` and `#` of the role are escaped.
fn documented(rig: &Rig, name: &str, role: &str, authorities: &Path) -> Result<String> {
    Ok(variable(name)?
        .replace("alice%40contoso.com", &escaped(role))
        .replace("alice@contoso.com", role)
        .replace("db.example.com", "localhost")
        .replace("5432", &rig.server.port().to_string())
        .replace(AUTHORITIES_OF_SYSTEM, &authorities.display().to_string()))
}

fn escaped(role: &str) -> String {
    role.replace('@', "%40").replace('#', "%23")
}

/// The tests' `az`, and `entra-emulator` and `aadauth-token` as cargo built them.
pub fn path() -> Result<std::ffi::OsString> {
    let mut path: Vec<PathBuf> = vec![
        source().join("pg_test/clients/bin"),
        target().join("release"),
    ];
    path.extend(std::env::split_paths(
        &std::env::var_os("PATH").ok_or("no PATH")?,
    ));
    Ok(std::env::join_paths(path)?)
}
