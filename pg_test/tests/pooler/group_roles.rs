//! Roles of groups, whose members share the pooler's connections (`aadauth.pooler_group_roles`).

use std::fs;

use pg_test::Result;
use pg_test::rig::{Rig, ensure};
use pg_test::wait::until;
use uuid::Uuid;

use crate::Test;
use crate::pgbouncer::{Pooled, ROLE, TRANSACTION};
use crate::trusted::{self, Stolen};

pub const TESTS: &[Test] = &[
    ("they_are_refused_unless_that_is_allowed", refused),
    ("nobody_is_taken_for_the_member_that_signed_in", shared),
    ("nor_where_the_pooler_is_not_recognized", unrecognized),
];

const GROUP: &str = "7ea30000-0000-4000-8000-000000000077";

fn refused(rig: &Rig) -> Result<()> {
    let mut pooled = trusted::start(rig, "pooled-no-groups", |plan| plan)?;
    rig.map(&pooled.server, "team", GROUP, "group")?;
    let token = member(rig, Uuid::new_v4())?;
    let refused = |pooled: &Pooled| -> Result<()> {
        let outcome = pooled.sign_in(TRANSACTION, "team", &token)?.outcome;
        ensure(!outcome.is_in(), || "let in".to_owned())
    };
    refused(&pooled)?;
    // Nor does the server let in what the pooler has not asked about.
    Stolen::of(rig, &pooled)?.refused("team", &token, "authentication failed")?;
    let log = pooled.server.log()?;
    ensure(log.matches("pooled-group-role").count() == 2, || log)?;
    let allowed = ("aadauth.pooler_group_roles", Some("on"));
    pooled
        .server
        .configure(&[allowed, ("aadauth.poolers", Some(""))])?;
    refused(&pooled)?;
    let named = trusted::name()?;
    pooled
        .server
        .configure(&[("aadauth.poolers", Some(&named))])?;
    pooled
        .query(TRANSACTION, "team", &token, "SELECT 1")
        .map(drop)
}

fn shared(rig: &Rig) -> Result<()> {
    let pooled = trusted::start(rig, "pooled-groups", |plan| {
        plan.set("aadauth.pooler_group_roles", "on")
    })?;
    let server = &pooled.server;
    server.sql(&format!(
        "SELECT pgaadauth_create_principal_with_oid('team', '{GROUP}', 'group', true, false);
         CREATE TABLE notes (owner uuid DEFAULT (aadauth.current_principal()).object_id, text text);
         ALTER TABLE notes ENABLE ROW LEVEL SECURITY;
         CREATE POLICY own ON notes USING (owner = (aadauth.current_principal()).object_id);
         GRANT SELECT, INSERT ON notes TO team"
    ))?;
    let (one, other) = (Uuid::new_v4(), Uuid::new_v4());
    server.sql(&format!("INSERT INTO notes VALUES ('{one}', 'secret')"))?;
    let (of_one, of_other) = (member(rig, one)?, member(rig, other)?);
    let mut first = pooled.session(TRANSACTION, "team", &of_one)?;
    let mut second = pooled.session(TRANSACTION, "team", &of_other)?;
    let pids = [&mut first, &mut second].map(|client| client.query("SELECT pg_backend_pid()"));
    let [Ok(of_first), Ok(of_second)] = &pids else {
        return Err(format!("{pids:?}").into());
    };
    ensure(of_first == of_second, || {
        format!("they do not share a connection: {pids:?}")
    })?;
    // Whose connection it is says nothing about whose statement it is.
    for client in [&mut first, &mut second] {
        for (sql, expected) in [
            ("SELECT aadauth.current_principal() IS NULL", "t"),
            ("SELECT count(*) FROM notes", "0"),
            ("SELECT count(*) FROM aadauth.sessions", "0"),
        ] {
            let found = client.query(sql)?;
            ensure(found == [expected], || format!("{sql}: {found:?}"))?;
        }
    }
    // An admin whom nobody knows maps nobody.
    let mapped = second.query(&format!(
        "SELECT pgaadauth_create_principal_with_oid('mine', '{other}', 'user', false, false)"
    ));
    ensure(mapped.is_err(), || "it maps a role".to_owned())?;
    if server.sql("SELECT current_setting('server_version_num')::int >= 160000")? == "t" {
        let user = first.query("SELECT split_part(system_user, ':', 2)")?;
        ensure(user == [format!("pooler {ROLE}")], || format!("{user:?}"))?;
    }
    // Those who may see all sessions see who signed in, and that it is a pooler's.
    let session =
        server.sql("SELECT object_id, pooler FROM aadauth.sessions WHERE role = 'team'")?;
    ensure(session == format!("{one}|{ROLE}"), || session)?;
    // The connection ends with the principal that signed in; the other member gets one of their own.
    server.sql(&format!("SELECT aadauth.revoke('{one}')"))?;
    let outcome = pooled.sign_in(TRANSACTION, "team", &of_one)?.outcome;
    ensure(!outcome.is_in(), || "a revoked member is let in".to_owned())?;
    until("the other member signs in", || {
        let outcome = pooled.sign_in(TRANSACTION, "team", &of_other)?.outcome;
        Ok(outcome.is_in().then_some(()))
    })?;
    let mut second = pooled.session(TRANSACTION, "team", &of_other)?;
    let pid = second.query("SELECT pg_backend_pid()")?;
    ensure(pid != *of_first, || format!("{pid:?}"))?;
    // Even a superuser is only the role.
    server.sql("ALTER ROLE team SUPERUSER")?;
    let third = Uuid::new_v4();
    second.query(&format!("SELECT aadauth.revoke('{third}')"))?;
    let by = server.sql(&format!(
        "SELECT revoked_by, revoked_by_id FROM aadauth.revoked_principals WHERE object_id = '{third}'"
    ))?;
    ensure(by == "team|", || by)
}

/// PgBouncer asks as the trusted pooler, and opens its connections without the certificate.
fn unrecognized(rig: &Rig) -> Result<()> {
    let mut pooled = trusted::start(rig, "pooled-unrecognized", |plan| {
        plan.set("aadauth.pooler_group_roles", "on")
    })?;
    rig.map(&pooled.server, "team", GROUP, "group")?;
    let file = pooled.home.join("pgbouncer.ini");
    let lines = fs::read_to_string(&file)?;
    let certificate = ["server_tls_cert_file", "server_tls_key_file"];
    let lines: Vec<_> = lines
        .lines()
        .filter(|line| !certificate.iter().any(|name| line.starts_with(name)))
        .collect();
    fs::write(&file, lines.join("\n") + "\n")?;
    pooled.kill_and_start()?;
    let token = member(rig, Uuid::new_v4())?;
    let outcome = pooled.sign_in(TRANSACTION, "team", &token)?.outcome;
    ensure(!outcome.is_in(), || "let in".to_owned())?;
    let log = pooled.server.log()?;
    ensure(
        log.contains("pooled-group-role") && log.contains("does not recognize this connection"),
        || log,
    )?;
    // Nor where no pooler is named any more, whose clients may still be connected.
    pooled.server.configure(&[("aadauth.poolers", Some(""))])?;
    rig.refused(&pooled.server, "team", &token, "pooled-group-role")?;
    // Who connects without a pooler is known by name.
    let other = Uuid::new_v4();
    let own = "SELECT (aadauth.current_principal()).object_id";
    let own = rig
        .session(&pooled.server, "team", &member(rig, other)?)?
        .query(own)?;
    ensure(own == [other.to_string()], || format!("{own:?}"))
}

/// A token of a member of the group.
fn member(rig: &Rig, object_id: Uuid) -> Result<String> {
    rig.user("alice@contoso.com")
        .object_id(object_id)
        .claim("groups", vec![GROUP])
        .text()
}
