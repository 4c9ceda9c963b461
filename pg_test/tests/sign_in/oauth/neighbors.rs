//! Beside other lines, other validators, and what PostgreSQL itself compares.

use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;

use pg_test::Result;
use pg_test::bearer::MECHANISM;
use pg_test::compiler::shared_library;
use pg_test::wire::Request;

use super::{line, line_of, server_with};
use crate::rig::{OUR_LINES, Rig, ensure};

/// Compiles the other library, once; where it is, without the ending.
pub fn other_library(rig: &Rig) -> Result<PathBuf> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _guard = ONE_AT_A_TIME
        .lock()
        .map_err(|_| "the other library could not be built")?;
    let place = rig.run().path().join("other");
    let library = place.with_extension("so");
    if !library.exists() {
        shared_library("oauth/other.c", &library, &[])?;
    }
    Ok(place)
}

/// Some roles at the prompt, others by OAUTHBEARER, each by the one way that its line has.
pub fn both_methods(rig: &Rig) -> Result<()> {
    let bearers = line(rig, "by_bearer,local_bearer");
    let server = server_with(
        rig,
        "oauth-both",
        &[bearers.as_str(), OUR_LINES[0]],
        |plan| plan,
    )?;
    let bearer = rig.person(&server, "by_bearer")?;
    let prompt = rig.person(&server, "by_prompt")?;
    server.sql(
        "CREATE ROLE local LOGIN PASSWORD 'secret'; CREATE ROLE local_bearer LOGIN PASSWORD 'secret'",
    )?;
    let sign_in = rig.bearer_accepted(&server, "by_bearer", &rig.token_of(&bearer)?)?;
    let by_bearer = rig.event(&server, &sign_in.mark)?;
    let sign_in = rig.accepted(&server, "by_prompt", &rig.token_of(&prompt)?)?;
    let by_prompt = rig.event(&server, &sign_in.mark)?;
    for column in [
        "outcome",
        "method",
        "tls",
        "principal_type",
        "tenant_id",
        "upn",
    ] {
        ensure(by_bearer[column] == by_prompt[column], || {
            format!("{column}: {by_bearer} and {by_prompt}")
        })?;
    }
    // Neither is asked for the other's.
    for (role, expected) in [
        ("by_bearer", Request::Sasl(vec![MECHANISM.to_owned()])),
        ("local_bearer", Request::Sasl(vec![MECHANISM.to_owned()])),
        ("by_prompt", Request::Password),
        ("local", Request::Sasl(vec!["SCRAM-SHA-256".to_owned()])),
    ] {
        let (mut connection, _) = rig.connect(&server, role)?;
        let request = connection.request()?;
        // With channel binding, SCRAM has another name beside it.
        let is_expected = match (&request, &expected) {
            (Request::Sasl(offered), Request::Sasl(expected)) => offered.last() == expected.last(),
            _ => request == expected,
        };
        ensure(is_expected, || format!("{role}: {request:?}"))?;
    }
    rig.bearer_refused(
        &server,
        "by_bearer",
        &rig.token_of(&prompt)?,
        "object-id-mismatch",
    )?;
    rig.refused(
        &server,
        "by_prompt",
        &rig.token_of(&bearer)?,
        "object-id-mismatch",
    )?;
    let printed = rig
        .attempt(&server, "local", "secret")
        .psql("", "SELECT 1")?;
    ensure(printed.success, || format!("{printed:?}"))?;
    rig.bearer_refused(
        &server,
        "local_bearer",
        &rig.token_of(&bearer)?,
        "role-not-mapped",
    )
}

/// A validator that accepts everybody: a mapped role is refused, and where passwords are off, local ones too.
pub fn another_validator(rig: &Rig) -> Result<()> {
    let other = other_library(rig)?;
    let other = other.display().to_string();
    let lines = [
        line(rig, "ours"),
        line_of(rig, "hostssl all", "all", &format!("validator=\"{other}\"")),
    ];
    let mut server = server_with(
        rig,
        "oauth-other",
        &[lines[0].as_str(), lines[1].as_str()],
        |plan| {
            plan.set(
                "oauth_validator_libraries",
                &format!("aadauth, \"{other}\""),
            )
        },
    )?;
    let ours = rig.person(&server, "ours")?;
    let theirs = rig.person(&server, "theirs")?;
    server.sql("CREATE ROLE local LOGIN")?;
    rig.bearer_accepted(&server, "ours", &rig.token_of(&ours)?)?;
    // It accepts.
    rig.bearer_accepted(&server, "local", "anything")?;
    rig.bearer_refused(&server, "theirs", &rig.token_of(&theirs)?, "wrong-line")?;
    rig.bearer_refused(&server, "theirs", "anything", "wrong-line")?;
    server.configure(&[("aadauth.authentication", Some("entra"))])?;
    rig.bearer_refused(&server, "local", "anything", "password-disabled")?;
    rig.bearer_accepted(&server, "ours", &rig.token_of(&ours)?)
        .map(drop)
}

/// PostgreSQL loads it in the middle of the sign-in, after the process has checked the hook.
pub fn late_hostile_hook(rig: &Rig) -> Result<()> {
    let other = other_library(rig)?.display().to_string();
    let options = format!("validator=\"{other}\"");
    let lines = ["hostssl all", "hostssl replication"]
        .map(|connections| line_of(rig, connections, "all", &options));
    let lines = lines.each_ref().map(String::as_str);
    let server = server_with(rig, "oauth-late", &lines, |plan| {
        plan.set("oauth_validator_libraries", &format!("\"{other}\""))
    })?;
    rig.person(&server, "someone")?;
    server.sql("CREATE ROLE local LOGIN REPLICATION; ALTER ROLE someone REPLICATION")?;
    // It accepts where it does not take the hook.
    rig.bearer_accepted(&server, "local", "anything")?;
    for role in ["someone", "local"] {
        for more in [
            &[("database", "template1")][..],
            &[("database", "template1"), ("replication", "database")],
            &[("database", "template1"), ("replication", "true")],
        ] {
            let sign_in = rig.bearer_sign_in_with(&server, role, "anything", more)?;
            rig.expect_refused(&server, role, &sign_in, "no-verdict")
                .map_err(|error| format!("{role}, {more:?}: {error}"))?;
        }
    }
    Ok(())
}

/// PostgreSQL compares the object id with the role's name then, or by a map.
pub fn without_delegation(rig: &Rig) -> Result<()> {
    let lines = [
        line_of(rig, "hostssl all", "mapped_twice", "map=entra"),
        line_of(rig, "hostssl all", "all", ""),
    ];
    let server = server_with(
        rig,
        "oauth-compared",
        &[lines[0].as_str(), lines[1].as_str()],
        |plan| plan,
    )?;
    let person = rig.person(&server, "someone")?;
    let twice = rig.person(&server, "mapped_twice")?;
    let token = rig.token_of(&person)?;
    let log = server.log_length()?;
    rig.bearer_refused(&server, "someone", &token, "method-refused")?;
    server.wait_for_log(log, "Without delegate_ident_mapping=1")?;
    rig.bearer_refused(
        &server,
        "someone",
        &rig.token_of(&twice)?,
        "object-id-mismatch",
    )?;
    // With a map, both have to agree.
    rig.bearer_refused(
        &server,
        "mapped_twice",
        &rig.token_of(&twice)?,
        "method-refused",
    )?;
    let map = format!("entra {} mapped_twice\n", twice.object_id);
    fs::write(server.data().join("pg_ident.conf"), map)?;
    server.reload()?;
    rig.bearer_accepted(&server, "mapped_twice", &rig.token_of(&twice)?)?;
    rig.bearer_refused(&server, "mapped_twice", &token, "object-id-mismatch")
}
