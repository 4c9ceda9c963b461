//! The principal of a session.

use pg_test::Result;
use pg_test::wait::until;
use serde_json::Value;

use super::{await_count, count, expect_rows};
use crate::Test;
use crate::rig::{Rig, Subject, ensure};

pub const TESTS: &[Test] = &[
    ("a_member_of_a_group_is_shown_as_a_person", member),
    ("a_managed_identity_is_shown", managed_identity),
    ("the_principal_stays_whatever_the_session_becomes", stays),
    ("a_local_role_has_no_principal", local),
    ("the_principal_in_defaults_and_policies", in_sql),
    ("who_sees_whose_sessions", who_sees),
    ("the_log_says_when_a_session_ends", sign_out),
    ("sessions_that_were_killed_are_gone", killed),
];

const ALICE: &str = "a11ce000-0000-4000-8000-000000000001";
const DBA: &str = "dba00000-0000-4000-8000-000000000010";

/// The row of the view about the backend behind a connection.
fn row(rig: &Rig, connection: &mut pg_test::wire::Connection) -> Result<Value> {
    let pid = connection.query("SELECT pg_backend_pid()")?.concat();
    let row = rig.server.sql(&format!(
        "SELECT coalesce(json_agg(s), '[]') FROM aadauth.sessions AS s WHERE pid = {pid}"
    ))?;
    let mut rows: Vec<Value> = serde_json::from_str(&row)?;
    ensure(rows.len() == 1, || format!("{rows:?}"))?;
    rows.pop().ok_or_else(|| "no row".into())
}

fn expect_columns(row: &Value, expected: &[(&str, Value)]) -> Result<()> {
    for (column, value) in expected {
        ensure(row[*column] == *value, || {
            format!("{column}: not {value}, in {row}")
        })?;
    }
    Ok(())
}

fn member(rig: &Rig) -> Result<()> {
    let token = rig
        .user("alice@contoso.com")
        .claim("uti", "seen-by-the-test")
        .expires_in(1234);
    let more = [("database", "postgres"), ("application_name", "looker")];
    let mut session = rig.session_with(&rig.server, "dba", &token.text()?, &more)?;
    let row = row(rig, &mut session)?;
    expect_columns(
        &row,
        &[
            ("role", "dba".into()),
            ("principal", "alice@contoso.com".into()),
            ("type", "user".into()),
            ("object_id", ALICE.into()),
            ("group_id", DBA.into()),
            ("database", "postgres".into()),
            ("client", "127.0.0.1".into()),
            ("application", "looker".into()),
        ],
    )?;
    let left = rig.server.sql(&format!(
        "SELECT token_expires_at - signed_in_at BETWEEN '1200 s' AND '1235 s'
             AND signed_in_at BETWEEN now() - interval '1 min' AND now() + interval '1 s'
         FROM aadauth.sessions WHERE pid = {}",
        row["pid"]
    ))?;
    ensure(left == "t", || format!("{row}"))
}

fn managed_identity(rig: &Rig) -> Result<()> {
    let token = rig
        .emulator
        .token(Subject::ManagedIdentity("vm-app".to_owned()))
        .text()?;
    let mut session = rig.session(&rig.server, "vm-app", &token)?;
    let row = row(rig, &mut session)?;
    expect_columns(
        &row,
        &[
            ("role", "vm-app".into()),
            ("type", "service".into()),
            ("object_id", "0a7b0000-0000-4000-8000-000000000031".into()),
            ("group_id", Value::Null),
        ],
    )?;
    ensure(
        row["principal"]
            .as_str()
            .is_some_and(|name| !name.is_empty()),
        || format!("{row}"),
    )?;
    expect_rows(
        &mut session,
        "SELECT p.type || ' ' || p.role FROM aadauth.current_principal() AS p",
        &["service vm-app"],
    )
}

const WHO: &str = "SELECT p.principal || ' ' || p.object_id || ' ' || p.role || ' ' || p.token_id
                   FROM aadauth.current_principal() AS p";

fn stays(rig: &Rig) -> Result<()> {
    let person = rig.person(&rig.server, "changer")?;
    rig.server.sql(
        "CREATE ROLE changed; ALTER ROLE changer SUPERUSER;
         CREATE FUNCTION public.who_calls() RETURNS text LANGUAGE sql SECURITY DEFINER
             AS $$ SELECT (aadauth.current_principal()).object_id::text $$",
    )?;
    let token = rig
        .user("alice@contoso.com")
        .object_id(person.object_id)
        .claim("uti", "stays");
    let mut session = rig.session(&rig.server, "changer", &token.text()?)?;
    let expected = format!("alice@contoso.com {} changer stays", person.object_id);
    for change in [
        "SELECT 1",
        "SET ROLE changed",
        "RESET ROLE",
        "SET SESSION AUTHORIZATION changed",
        "SET ROLE NONE",
        "DISCARD ALL",
        "SET SESSION AUTHORIZATION local",
    ] {
        session.query(change)?;
        expect_rows(&mut session, WHO, &[&expected])
            .map_err(|error| format!("after {change}: {error}"))?;
    }
    let own = person.object_id.to_string();
    expect_rows(&mut session, "SELECT who_calls()", &[&own])?;
    // Somebody else by now, and yet the session is still seen as its person's.
    expect_rows(
        &mut session,
        "SELECT role FROM aadauth.sessions",
        &["changer"],
    )?;
    ensure(count(&rig.server, person.object_id)? == 1, || {
        "the session is not in the view".to_owned()
    })
}

fn local(rig: &Rig) -> Result<()> {
    let somebody = rig.person(&rig.server, "not_local")?;
    let _session = rig.session(&rig.server, "not_local", &rig.token_of(&somebody)?)?;
    let (mut session, _) = rig.connect(&rig.server, "local")?;
    session.request()?;
    let outcome = session.scram(b"local password", || Ok(()))?;
    ensure(outcome.is_in(), || format!("{outcome:?}"))?;
    let query = "SELECT aadauth.current_principal() IS NULL
                     AND (aadauth.current_principal()).object_id IS NULL
                     AND NOT EXISTS (SELECT FROM aadauth.sessions)";
    expect_rows(&mut session, query, &["t"])?;
    let pid = session.query("SELECT pg_backend_pid()")?.concat();
    let shown = rig.server.sql(&format!(
        "SELECT count(*) FROM aadauth.sessions WHERE pid = {pid}"
    ))?;
    ensure(shown == "0", || shown.clone())
}

fn in_sql(rig: &Rig) -> Result<()> {
    let one = rig.person(&rig.server, "policy_one")?;
    let two = rig.person(&rig.server, "policy_two")?;
    rig.server.sql(
        "CREATE TABLE public.owned (note text,
             owner uuid DEFAULT (aadauth.current_principal()).object_id);
         ALTER TABLE public.owned ENABLE ROW LEVEL SECURITY;
         CREATE POLICY own ON public.owned
             USING (owner = (SELECT object_id FROM aadauth.current_principal()));
         GRANT SELECT, INSERT ON public.owned TO policy_one, policy_two",
    )?;
    let mut sessions = Vec::new();
    for person in [&one, &two] {
        let mut session = rig.session(&rig.server, &person.role, &rig.token_of(person)?)?;
        session.query(&format!(
            "INSERT INTO owned (note) VALUES ('of {}')",
            person.role
        ))?;
        sessions.push((session, &person.role));
    }
    for (session, role) in &mut sessions {
        expect_rows(session, "SELECT note FROM owned", &[&format!("of {role}")])?;
    }
    Ok(())
}

fn who_sees(rig: &Rig) -> Result<()> {
    let one = rig.person(&rig.server, "seen_one")?;
    let two = rig.person(&rig.server, "seen_two")?;
    let token = rig.token_of(&one)?;
    let mut first = rig.session(&rig.server, "seen_one", &token)?;
    let _second = rig.session(&rig.server, "seen_one", &token)?;
    let mut other = rig.session(&rig.server, "seen_two", &rig.token_of(&two)?)?;
    let roles = "SELECT role FROM aadauth.sessions
                 WHERE role IN ('seen_one', 'seen_two') ORDER BY role";
    let all = ["seen_one", "seen_one", "seen_two"];
    expect_rows(&mut first, roles, &["seen_one", "seen_one"])?;
    expect_rows(&mut other, roles, &["seen_two"])?;
    expect_rows(
        &mut other,
        "SELECT DISTINCT role FROM aadauth.sessions()",
        &["seen_two"],
    )?;
    for allowed in ["aadauth_auditor", "pg_read_all_stats"] {
        rig.server.sql(&format!("GRANT {allowed} TO seen_two"))?;
        expect_rows(&mut other, roles, &all).map_err(|error| format!("{allowed}: {error}"))?;
        rig.server.sql(&format!("REVOKE {allowed} FROM seen_two"))?;
        expect_rows(&mut other, roles, &["seen_two"])?;
    }
    let seen = rig.server.sql(roles)?;
    ensure(seen == all.join("\n"), || seen)
}

fn sign_out(rig: &Rig) -> Result<()> {
    let person = rig.person(&rig.server, "goer")?;
    let mark = rig.server.log()?.len();
    let mut session = rig.session(&rig.server, "goer", &rig.token_of(&person)?)?;
    let pid = session.query("SELECT pg_backend_pid()")?.concat();
    let line = |text: &str| -> Result<Option<String>> {
        let (own, log) = (format!("[{pid}]"), rig.server.log_since(mark)?);
        let mut lines = log.lines();
        Ok(lines
            .find(|line| line.contains(&own) && line.contains(text))
            .map(str::to_owned))
    };
    ensure(line("session ended")?.is_none(), || {
        "ended already".to_owned()
    })?;
    drop(session);
    let said = until("the log says that the session has ended", || {
        line("session ended")
    })?;
    let expected = format!(
        "LOG:  Microsoft Entra ID session ended: UPN=alice@contoso.com oid={} role=\"goer\" duration=0:00:",
        person.object_id
    );
    ensure(said.contains(&expected), || said)?;
    await_count(&rig.server, person.object_id, 0)
}

fn killed(rig: &Rig) -> Result<()> {
    let mut server = rig.server("sessions-killed", |plan| plan)?;
    let person = rig.person(&server, "someone")?;
    let token = rig.token_of(&person)?;
    let mut session = rig.session(&server, "someone", &token)?;
    await_count(&server, person.object_id, 1)?;
    let pid = session.query("SELECT pg_backend_pid()")?.concat();
    server.crash(pid.parse()?)?;
    await_count(&server, person.object_id, 0)?;
    // The revocations are loaded again.
    let _session = rig.session(&server, "someone", &token)?;
    await_count(&server, person.object_id, 1)
}
