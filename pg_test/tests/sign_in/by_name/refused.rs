use std::time::{Duration, Instant};

use pg_test::Result;
use pg_test::wait::until;
use serde_json::{Value, json};

use super::fails;
use crate::directory_server::{ALICE, SERVER_APPLICATION, set_mode};
use crate::rig::{Rig, ensure};

const CREATE: &str = "SELECT pgaadauth_create_principal('alice@contoso.com', false, false)";
const WITH_OID: &str = "pgaadauth_create_principal_with_oid";

fn on(endpoint: &str, fault: Value) -> Value {
    json!({ "fault": fault, "endpoint": endpoint })
}

pub fn each(rig: &Rig) -> Result<()> {
    let mut own = rig.directory_server_with("by-name-refused", |plan, _| {
        Ok(plan.set("aadauth.directory_timeout", "2s"))
    })?;
    let secret = rig.run().path().join("by-name-refused.secret");
    let label = |role: &str, label: &str| {
        format!(
            "CREATE ROLE \"{role}\" LOGIN; SECURITY LABEL FOR pgaadauth ON ROLE \"{role}\" IS '{label}'"
        )
    };
    let create = |name: &str| format!("SELECT pgaadauth_create_principal('{name}', false, false)");

    let not_found = [
        "42704: Could not validate AAD user \"nobody@contoso.com\" because its name is not found in the tenant",
        WITH_OID,
    ];
    fails(&own.server, &create("nobody@contoso.com"), &not_found)?;
    fails(
        &own.server,
        &label("nobody@contoso.com", "aadauth"),
        &not_found,
    )?;
    // The object id is no name, though Graph would find a user by it.
    fails(
        &own.server,
        &create("a11ce000-0000-4000-8000-000000000001"),
        &["42704"],
    )?;
    let ambiguous = [
        "21000: Cannot validate Microsoft Entra ID user \"twins\" because its name isn't unique",
        "group 7e145000-0000-4000-8000-000000000014",
        "service 7e145000-0000-4000-8000-000000000081",
        WITH_OID,
    ];
    fails(&own.server, &create("twins"), &ambiguous)?;
    fails(&own.server, &label("twins", "aadauth,admin"), &ambiguous)?;
    fails(&own.server, &create(&"x".repeat(64)), &["42622", WITH_OID])?;
    fails(
        &own.server,
        &create("dba"),
        &["42710: role \"dba\" already exists"],
    )?;
    // A deleted principal is not found any more.
    own.server.sql(&create("batch"))?;
    own.server.sql("DROP ROLE batch")?;
    own.emulator.delete("batch")?;
    fails(&own.server, &create("batch"), &["42704"])?;

    let text = |sqlstate: &str| {
        format!(
            "{sqlstate}: An unexpected error occurred while trying to validate user \"{ALICE}\": "
        )
    };
    for (fault, sqlstate) in [
        (on("graph", json!({ "slow": 10_000 })), "08006"),
        (on("graph", json!("garbage")), "08P01"),
        (on("graph", json!({ "throttled": 60 })), "53000"),
    ] {
        own.emulator.disturb(&fault)?;
        fails(&own.server, CREATE, &[&text(sqlstate), "HINT", WITH_OID])
            .map_err(|error| format!("{fault}: {error}"))?;
        own.emulator.behave()?;
    }

    set_mode(&secret, "0644")?;
    let another = |name: &str, content: &str| -> Result<String> {
        Ok(rig.secret_file(name, content)?.display().to_string())
    };
    let wrong = another("by-name-refused.wrong", "not-the-secret")?;
    let reporting = another("by-name-refused.reporting", "reporting-secret")?;
    let copy = another("by-name-refused.open", "aadauth-server-secret")?;
    set_mode(std::path::Path::new(&copy), "0644")?;
    let file = "aadauth.client_secret_file";
    let id = "aadauth.client_id";
    for (changes, sqlstate, says) in [
        (
            vec![(file, Some(copy.as_str()))],
            "F0000",
            "group or world access",
        ),
        (vec![(file, Some(wrong.as_str()))], "28000", "AADSTS7000215"),
        (
            vec![
                (file, Some(reporting.as_str())),
                (id, Some("4e904700-0000-4000-8000-000000000020")),
            ],
            "42501",
            "User.Read.All",
        ),
    ] {
        own.server.configure(&changes)?;
        fails(&own.server, CREATE, &[&text(sqlstate), says, "HINT"])?;
    }
    own.server.configure(&[(id, None)])?;
    let no_directory =
        "55000: cannot look up principals by name because no directory is configured";
    fails(
        &own.server,
        CREATE,
        &[
            no_directory,
            "DETAIL:  aadauth.client_id is not set.",
            WITH_OID,
        ],
    )?;
    fails(
        &own.server,
        &label(ALICE, "aadauth"),
        &[no_directory, WITH_OID],
    )?;

    set_mode(&secret, "0600")?;
    let path = secret.display().to_string();
    own.server
        .configure(&[(file, Some(&path)), (id, Some(SERVER_APPLICATION))])?;
    own.emulator.stop()?;
    fails(&own.server, CREATE, &[&text("08001"), "HINT", WITH_OID])?;
    // None of these has left a role behind.
    let roles = own.server.sql(
        "SELECT count(*) FROM pg_roles WHERE rolname IN ('alice@contoso.com', 'twins', 'batch')",
    )?;
    ensure(roles == "0", || format!("{roles} roles"))
}

/// The settings that name files are for superusers to read.
pub fn no_paths(rig: &Rig) -> Result<()> {
    let mut own = rig.directory_server("by-name-paths")?;
    let object_id = uuid::Uuid::new_v4();
    let token = own
        .token(crate::rig::Subject::User(ALICE.to_owned()))
        .object_id(object_id)
        .text()?;
    own.server
        .configure(&[("aadauth.credential", Some("none"))])?;
    own.server.sql(&format!(
        "SELECT pgaadauth_create_principal_with_oid('chief', '{object_id}', 'user', true, false)"
    ))?;
    let mut session = rig.session(&own.server, "chief", &token)?;
    own.server.configure(&[
        ("aadauth.credential", Some("client_secret")),
        ("aadauth.client_secret_file", Some("/nowhere/secret")),
    ])?;
    until("the session has the settings", || {
        Ok(session
            .execute(CREATE)?
            .is_err_and(|refusal| refusal.sqlstate == "F0000")
            .then_some(()))
    })?;
    let mark = own.server.log_length()?;
    let refusal = session.execute(CREATE)?.err().ok_or("it went through")?;
    ensure(
        refusal
            .message
            .ends_with("the server's credential cannot be used"),
        || format!("{refusal:?}"),
    )?;
    session.query("SET client_min_messages = error; SELECT pgaadauth_create_principal_with_oid('x', 'a11ce000-0000-4000-8000-000000000001', 'user', false, false)")?;
    // The network worker logs the path for the superuser; only this session's lines count.
    let prefix = format!(" [{}] ", session.query("SELECT pg_backend_pid()")?.concat());
    let logged = own.server.log_since(mark)?;
    let lines = logged.lines().filter(|line| line.contains(&prefix));
    let warned = lines.collect::<Vec<_>>().join("\n");
    ensure(
        warned.contains("is that of a user: the server's credential cannot be used")
            && !warned.contains("/nowhere/secret"),
        || warned.clone(),
    )?;
    fails(&own.server, CREATE, &["F0000", "/nowhere/secret"])
}

/// A role that may not map roles cannot make the server ask either.
pub fn not_allowed(rig: &Rig) -> Result<()> {
    let own = rig.directory_server("by-name-not-allowed")?;
    own.server
        .sql("CREATE ROLE creator CREATEROLE; CREATE ROLE \"alice@contoso.com\"")?;
    let before = own.emulator.graph_requests()?;
    for statement in [
        CREATE,
        "SECURITY LABEL FOR pgaadauth ON ROLE \"alice@contoso.com\" IS 'aadauth'",
        "SELECT pgaadauth_create_principal_with_oid('x', 'a11ce000-0000-4000-8000-000000000001', 'user', false, false)",
    ] {
        fails(
            &own.server,
            &format!("SET ROLE creator; {statement}"),
            &["42501"],
        )?;
    }
    let asked = own.emulator.graph_requests()? - before;
    ensure(asked == 0, || format!("{asked} requests"))
}

pub fn cancelled(rig: &Rig) -> Result<()> {
    let own = rig.directory_server_with("by-name-cancelled", |plan, _| {
        Ok(plan.set("aadauth.directory_timeout", "30s"))
    })?;
    own.server
        .sql("CREATE ROLE \"alice@contoso.com\" LOGIN; CREATE ROLE other LOGIN")?;
    own.emulator
        .disturb(&on("graph", json!({ "slow": 8_000 })))?;
    let label = "SECURITY LABEL FOR pgaadauth ON ROLE \"alice@contoso.com\" IS 'aadauth'";
    let begun = Instant::now();
    for statement in [
        "SELECT pgaadauth_create_principal('batch', false, false)",
        label,
    ] {
        let sql = format!("SET statement_timeout = '500ms'; {statement}");
        fails(
            &own.server,
            &sql,
            &["57014: canceling statement due to statement timeout"],
        )?;
    }
    // While a session waits, others set labels.
    std::thread::scope(|scope| -> Result<()> {
        let waiting = scope.spawn(|| own.server.sql(label));
        own.wait_for_request("SECURITY LABEL FOR pgaadauth")?;
        own.server.sql(
            "SET statement_timeout = '10s'; SECURITY LABEL FOR \"pgaadauth-int\" ON ROLE other IS
                 'type=user,oid=00000000-0000-4000-8000-00000000beef,tenant_id=6b1f0c7e-2a3d-4e58-9b41-0c5d7e8f9a01'",
        )?;
        own.server.sql(
            "SELECT pg_cancel_backend(pid) FROM pg_stat_activity
             WHERE query LIKE 'SECURITY LABEL FOR pgaadauth ON%' AND pid <> pg_backend_pid()",
        )?;
        let outcome = waiting.join().map_err(|_| "a thread panicked")?;
        let error = outcome
            .err()
            .map(|error| error.to_string())
            .unwrap_or_default();
        ensure(
            error.contains("57014: canceling statement due to user request"),
            || error,
        )
    })?;
    ensure(begun.elapsed() < Duration::from_secs(20), || {
        format!("it took {:?}", begun.elapsed())
    })?;
    let left = own.server.sql(
        "SELECT (SELECT count(*) FROM pg_roles WHERE rolname = 'batch')
             + (SELECT count(*) FROM pg_shseclabel WHERE objoid = '\"alice@contoso.com\"'::regrole)",
    )?;
    ensure(left == "0", || format!("{left} things are left"))?;
    own.emulator.behave()?;
    own.server.sql(label).map(drop)
}
