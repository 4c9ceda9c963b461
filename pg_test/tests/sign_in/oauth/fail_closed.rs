//! What is missing or wrong lets nobody in.

use pg_test::Result;
use pg_test::bearer::{Answer, message};
use pg_test::server::Server;
use pg_test::set_up::free_port;
use pg_test::wait::until;
use pg_test::wire::Outcome;
use serde_json::json;

use super::messages::refused_and_gone;
use super::neighbors::other_library;
use super::{line, server, server_with};
use crate::fail_closed::{overwrite_label, stays_up};
use crate::rig::{Rig, ensure, library_directory, library_place};

/// Neither with a token that was good a moment ago, nor with anything else.
fn nobody_gets_in(rig: &Rig, server: &Server, token: &str, told: &str) -> Result<()> {
    stays_up(server, || {
        for role in ["someone", "local", "nobody"] {
            for secret in [token, "x"] {
                let sign_in = rig.bearer_sign_in(server, role, secret)?;
                let refusal = sign_in
                    .outcome
                    .refusal()
                    .ok_or_else(|| format!("{role}: {:?}", sign_in.outcome))?;
                ensure(refusal.message.contains(told), || {
                    format!("{role}: {refusal:?}")
                })?;
            }
        }
        Ok(())
    })
}

/// Core loads the library for the validator's sake: it doesn't let itself be.
pub fn not_preloaded(rig: &Rig) -> Result<()> {
    let mut server = server(rig, "oauth-not-preloaded")?;
    let person = rig.person(&server, "someone")?;
    server.sql("CREATE ROLE local LOGIN")?;
    let token = rig.token_of(&person)?;
    rig.bearer_accepted(&server, "someone", &token)?;
    server.configure(&[("shared_preload_libraries", None)])?;
    server.restart()?;
    let told = "aadauth must be loaded when the server starts";
    nobody_gets_in(rig, &server, &token, told)?;
    for options in [
        "-c session_preload_libraries=aadauth",
        "-c local_preload_libraries=aadauth",
        "-c oauth_validator_libraries=",
    ] {
        let more = [("database", "postgres"), ("options", options)];
        let sign_in = rig.bearer_sign_in_with(&server, "someone", &token, &more)?;
        ensure(sign_in.outcome.refusal().is_some(), || {
            format!("{options}: {:?}", sign_in.outcome)
        })?;
    }
    Ok(())
}

/// It is put back in every session: the final authorization check stays ours.
pub fn displaced(rig: &Rig) -> Result<()> {
    let other = other_library(rig)?;
    let libraries = format!("aadauth, \"{}\"", other.display());
    let server = server_with(rig, "oauth-displaced", &[&line(rig, "all")], |plan| {
        plan.set("shared_preload_libraries", &libraries)
    })?;
    let person = rig.person(&server, "someone")?;
    server.sql("CREATE ROLE local LOGIN")?;
    let token = rig.token_of(&person)?;
    server.wait_for_log(0, "another library has replaced the authentication hook")?;
    let sign_in = rig.bearer_accepted(&server, "someone", &token)?;
    let event = rig.event(&server, &sign_in.mark)?;
    ensure(event["outcome"] == "authenticated", || event.to_string())?;
    rig.bearer_refused(&server, "someone", &rig.alice()?, "object-id-mismatch")?;
    rig.bearer_refused(&server, "local", &token, "role-not-mapped")
}

pub fn role_changes(rig: &Rig) -> Result<()> {
    let server = server(rig, "oauth-changes")?;
    let person = rig.person(&server, "someone")?;
    let token = rig.token_of(&person)?;
    let label = format!(
        "SECURITY LABEL FOR pgaadauth ON ROLE someone IS 'aadauth,oid={},type=user'",
        person.object_id
    );
    let accepted = || rig.bearer_accepted(&server, "someone", &token).map(drop);
    let refused = |reason| rig.bearer_refused(&server, "someone", &token, reason);
    accepted()?;
    server.sql("SECURITY LABEL FOR pgaadauth ON ROLE someone IS NULL")?;
    refused("role-not-mapped")?;
    server.sql(&label)?;
    accepted()?;
    server.sql("DROP ROLE someone")?;
    refused("role-not-mapped")?;
    server.sql("CREATE ROLE someone LOGIN PASSWORD 'secret'")?;
    refused("role-not-mapped")?;
    server.sql(
        "SECURITY LABEL FOR pgaadauth ON ROLE someone IS
                    'aadauth,oid=e15e0000-0000-4000-8000-0000000000e7,type=user'",
    )?;
    refused("object-id-mismatch")?;
    server.sql(&label)?;
    accepted()?;
    server.sql("ALTER ROLE someone NOLOGIN")?;
    refused("role-not-login")?;
    server.sql("ALTER ROLE someone LOGIN VALID UNTIL 'yesterday'")?;
    refused("role-expired")?;
    server.sql("ALTER ROLE someone VALID UNTIL 'infinity'")?;
    accepted()?;
    server.sql(&format!(
        "SELECT aadauth.revoke('{}'::uuid)",
        person.object_id
    ))?;
    refused("revoked")?;
    server.sql(&format!(
        "SELECT aadauth.restore('{}'::uuid)",
        person.object_id
    ))?;
    until("the principal is restored", || {
        let sign_in = rig.bearer_sign_in(&server, "someone", &token)?;
        Ok(sign_in.outcome.is_in().then_some(()))
    })?;
    stays_up(&server, || {
        overwrite_label(&server, "someone", "pgaadauth-int", "label || ',admin'")?;
        refused("label-conflict")?;
        overwrite_label(&server, "someone", "pgaadauth-int", "'rubbish'")?;
        refused("label-invalid")
    })
}

/// The last request to the directory is slow, and the label is removed meanwhile.
pub fn label_removed(rig: &Rig) -> Result<()> {
    let mut own = rig.directory_server("oauth-removed")?;
    own.server
        .configure(&[("oauth_validator_libraries", Some("aadauth"))])?;
    own.server.set_hba(&[&line(rig, "all")])?;
    let token = own.silent_user("alice@contoso.com")?;
    own.emulator
        .disturb(&json!({ "fault": { "slow": 1500 }, "endpoint": "graph" }))?;
    let asked = own.emulator.graph_requests()?;
    let (mut connection, mark) = rig.connect(&own.server, "dba")?;
    connection.bearer_request()?;
    connection.choose("OAUTHBEARER", &message(&format!("Bearer {token}")))?;
    until("the directory is asked", || {
        Ok((own.emulator.graph_requests()? > asked).then_some(()))
    })?;
    own.server
        .sql("SECURITY LABEL FOR pgaadauth ON ROLE dba IS NULL")?;
    let Answer::Ended(Outcome::Refused(refusal)) = connection.bearer_answer()? else {
        return Err("not refused by the final authorization check".into());
    };
    let text = entra_token::client_text(entra_token::Reason::MappingChanged, "dba", None);
    ensure(refusal.message == text, || format!("{refusal:?}"))?;
    let event = rig.event(&own.server, &mark)?;
    ensure(
        event["outcome"] == "refused" && event["reason"] == "mapping-changed",
        || event.to_string(),
    )
}

pub fn unconfigured(rig: &Rig) -> Result<()> {
    let mut server = server(rig, "oauth-unconfigured")?;
    let person = rig.person(&server, "someone")?;
    let token = rig.token_of(&person)?;
    for (setting, value, reason) in [
        (
            "aadauth.authentication",
            Some("postgresql"),
            "entra-disabled",
        ),
        ("aadauth.audience", None, "audience-not-configured"),
        ("aadauth.tenant_id", None, "tenant-not-configured"),
    ] {
        rig.bearer_accepted(&server, "someone", &token)?;
        let before = server.plan().settings.get(setting).cloned();
        server.configure(&[(setting, value)])?;
        rig.bearer_refused(&server, "someone", &token, reason)?;
        server.configure(&[(setting, before.as_deref())])?;
    }
    drop(server);
    let nowhere = format!("https://localhost:{}", free_port()?);
    let plan = rig
        .plan("oauth-no-keys")?
        .hba(&[&line(rig, "all")])
        .set("oauth_validator_libraries", "aadauth")
        .set("aadauth.authority_host", &nowhere);
    let server = rig.start_plan(plan)?;
    server.sql("CREATE EXTENSION aadauth")?;
    let person = rig.person(&server, "someone")?;
    let token = rig
        .user("alice@contoso.com")
        .object_id(person.object_id)
        .claim("iss", format!("{nowhere}/{}/", pg_test::emulator::TENANT))
        .text()?;
    stays_up(&server, || {
        rig.bearer_refused(&server, "someone", &token, "signing-keys-unavailable")
    })
}

pub fn faults(rig: &Rig) -> Result<()> {
    let libraries = library_directory(rig.run(), "lib-oauth", &["fault-injection"])?;
    let place = library_place()?;
    let mut server = server_with(rig, "oauth-faults", &[&line(rig, "all")], |plan| {
        plan.mount(&libraries, &place)
    })?;
    let person = rig.person(&server, "someone")?;
    let token = rig.token_of(&person)?;
    rig.bearer_accepted(&server, "someone", &token)?;
    for fault in ["panic", "error"] {
        server.configure(&[("aadauth.inject_fault", Some(fault))])?;
        stays_up(&server, || {
            for _ in 0..3 {
                rig.bearer_refused(&server, "someone", &token, "internal-error")?;
            }
            // A client that disconnects on it leaves the same event.
            let event = refused_and_gone(rig, &server, &token)?;
            ensure(event["reason"] == "internal-error", || event.to_string())
        })?;
    }
    server.configure(&[("aadauth.inject_fault", None)])?;
    rig.bearer_accepted(&server, "someone", &token).map(drop)
}
