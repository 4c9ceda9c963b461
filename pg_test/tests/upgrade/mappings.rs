//! The mappings of a server that is upgraded or dumped, and what must hold afterwards.

use pg_test::Result;
use pg_test::client::Printed;
use pg_test::emulator::AUDIENCE_V2;
use pg_test::rig::{Rig, Subject, ensure};
use pg_test::server::Server;
use pg_test::wait::until;

const LEAVER: &str = "1eaf0000-0000-4000-8000-000000000099";

/// Makes roles of every kind: an admin, a group, a user who needs MFA, a service, one who is revoked, and a
/// local one.
pub fn create(server: &Server) -> Result<()> {
    server
        .sql(&format!(
            "SELECT pgaadauth_create_principal_with_oid(role, oid, type, admin, mfa) FROM (VALUES
                 ('alice@contoso.com', 'a11ce000-0000-4000-8000-000000000001', 'user', true, false),
                 ('dba', 'dba00000-0000-4000-8000-000000000010', 'group', false, false),
                 ('carol@contoso.com', 'ca401000-0000-4000-8000-000000000003', 'user', false, true),
                 ('reporting', '4e904700-0000-4000-8000-000000000021', 'service', false, false),
                 ('leaver', '{LEAVER}', 'user', false, false)
             ) AS p (role, oid, type, admin, mfa);
             SELECT aadauth.revoke('{LEAVER}', reason => 'left');
             CREATE ROLE local LOGIN PASSWORD 'local password'; CREATE SCHEMA kept;
             CREATE TABLE kept.report AS SELECT 42 AS answer;
             GRANT USAGE ON SCHEMA kept TO dba; GRANT SELECT ON kept.report TO dba;
             GRANT dba TO reporting; GRANT aadauth_auditor TO \"carol@contoso.com\""
        ))
        .map(drop)
}

/// Expects each to get in, or not, as [`create`] has left them.
pub fn check(rig: &Rig, server: &Server) -> Result<()> {
    let alice = rig.alice()?;
    let psql = |role: &str, secret: &str, sql: &str| -> Result<Printed> {
        rig.attempt(server, role, secret).psql("", sql)
    };
    let event = rig.event(
        server,
        &rig.accepted(server, "alice@contoso.com", &alice)?.mark,
    )?;
    ensure(event["upn"] == "alice@contoso.com", || event.to_string())?;
    let printed = psql("dba", &alice, "SELECT answer FROM kept.report")?;
    ensure(printed.output == "42", || format!("{printed:?}"))?;
    let reporting = rig
        .emulator
        .token(Subject::ServicePrincipal("reporting".to_owned()))
        .text()?;
    let printed = psql("reporting", &reporting, "SELECT answer FROM kept.report")?;
    ensure(printed.output == "42", || format!("{printed:?}"))?;

    let carol = rig.user("carol@contoso.com").text()?;
    let printed = psql(
        "carol@contoso.com",
        &carol,
        "SELECT count(*) > 0 FROM aadauth.sign_ins",
    )?;
    ensure(printed.output == "t", || format!("{printed:?}"))?;
    let unproved = rig.user("carol@contoso.com").audience(AUDIENCE_V2).text()?;
    rig.refused(server, "carol@contoso.com", &unproved, "mfa-unprovable")?;
    rig.refused(server, "alice@contoso.com", &carol, "object-id-mismatch")?;
    revoked(rig, server)?;
    let lost = server.sql(
        "SELECT code, remedy FROM aadauth.check_configuration()
         WHERE code IN ('own-role-without-privileges', 'admin-without-rights')",
    )?;
    ensure(lost.is_empty(), || lost)?;

    let printed = psql("local", "local password", "SELECT session_user")?;
    ensure(printed.output == "local", || format!("{printed:?}"))?;
    let printed = psql("local", "another password", "SELECT session_user")?;
    ensure(!printed.success, || format!("{printed:?}"))?;

    // An admin is one still.
    let mapped = psql(
        "alice@contoso.com",
        &alice,
        "SELECT pgaadauth_create_principal_with_oid('newcomer', gen_random_uuid()::text, 'user', false, false);
         DROP ROLE newcomer",
    )?;
    ensure(mapped.success, || format!("{mapped:?}"))
}

/// A revoked principal stays revoked, from the first sign-in on.
fn revoked(rig: &Rig, server: &Server) -> Result<()> {
    let token = rig
        .user("alice@contoso.com")
        .object_id(LEAVER.parse()?)
        .text()?;
    until("the revocations are loaded", || {
        let sign_in = rig.sign_in(server, "leaver", &token)?;
        let refused = |reason| rig.expect_refused(server, "leaver", &sign_in, reason);
        if refused("revoked").is_ok() {
            return Ok(Some(()));
        }
        refused("revocations-unavailable").map(|()| None)
    })
}

/// What the audit, the list of revocations and the record of group sync have, as text. The superuser's own
/// sign-ins are left out, since asking for this is one.
pub fn records(server: &Server) -> Result<String> {
    server.sql(
        "SELECT a FROM aadauth.sign_in_audit AS a WHERE role <> 'postgres' ORDER BY event_id;
         SELECT r FROM aadauth.revoked_principals AS r ORDER BY object_id;
         SELECT c FROM aadauth.group_sync_changes AS c ORDER BY at",
    )
}

/// Runs what docs/upgrades.md says to wait with until nothing is in the spool any more.
pub fn drain(server: &Server) -> Result<()> {
    let text = std::fs::read_to_string(pg_test::place::source().join("docs/upgrades.md"))?;
    let block = text
        .split("```sql\n")
        .filter_map(|rest| rest.split("```").next())
        .find(|block| block.contains("spool_backlog_bytes"))
        .ok_or("docs/upgrades.md does not wait for the spool")?;
    server
        .sql(&format!("SET statement_timeout = '60s'; {block}"))
        .map(drop)
}
