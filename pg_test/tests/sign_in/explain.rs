//! What `aadauth.explain_sign_in` says of sign-ins, and to whom.

use std::process::Stdio;

use entra_token::Reason;
use pg_test::Result;
use pg_test::process::{as_postgres, checked};
use pg_test::server::Server;
use pg_test::wait::until;
use serde_json::Value;
use uuid::Uuid;

use crate::Test;
use crate::rig::{OUR_LINES, Rig, ensure};

pub const TESTS: &[Test] = &[
    (
        "a_refusal_after_the_signature_shows_every_step",
        after_signature,
    ),
    (
        "a_refusal_before_the_signature_says_what_is_not_known",
        before_signature,
    ),
    ("an_accepted_sign_in_passed_every_step", accepted),
    ("a_wrong_line_and_an_interruption", wrong_line),
    ("local_roles", local_roles),
    ("a_client_that_left_at_the_prompt", left),
    ("unknown_events_and_other_databases", unknown),
    ("to_superusers_and_auditors_alone", readers),
    ("other_peoples_search_path_changes_nothing", search_path),
    ("it_may_be_in_a_parallel_query", parallel),
    ("psql_wraps_it_to_the_terminal", fits),
];

struct Row {
    checked: String,
    outcome: String,
    /// Without its line breaks.
    explanation: String,
}

struct Explanation(Vec<Row>);

impl Explanation {
    /// Waits for the event of that mark, and has it explained.
    fn of(rig: &Rig, server: &Server, mark: &str) -> Result<Explanation> {
        let event = rig.event(server, mark)?;
        let id = event["event_id"].as_str().ok_or("no id")?;
        let rows = server.sql(&format!(
            "SELECT json_agg(e ORDER BY ordinality)
             FROM aadauth.explain_sign_in('{id}') WITH ORDINALITY AS e"
        ))?;
        let rows: Vec<Value> = serde_json::from_str(&rows)?;
        let text =
            |row: &Value, column: &str| row[column].as_str().unwrap_or_default().replace('\n', " ");
        Ok(Explanation(
            rows.iter()
                .map(|row| Row {
                    checked: text(row, "checked"),
                    outcome: text(row, "outcome"),
                    explanation: text(row, "explanation"),
                })
                .collect(),
        ))
    }

    fn expect(&self, expected: &[(&str, &str)]) -> Result<()> {
        for (checked, outcome) in expected {
            let found = self.0.iter().find(|row| row.checked == *checked);
            ensure(found.is_some_and(|row| row.outcome == *outcome), || {
                format!("{checked} is not {outcome}:\n{self}")
            })?;
        }
        Ok(())
    }

    /// Expects that only this reason is named, on the row of this check, first with meaning and advice.
    fn expect_failed(&self, checked: &str, reason: Reason) -> Result<()> {
        let failed: Vec<&Row> = self
            .0
            .iter()
            .filter(|row| row.outcome == "failed")
            .collect();
        let advice = format!(
            "{} {} {}",
            reason.code(),
            reason.description(),
            reason.advice()
        );
        ensure(
            matches!(failed[..], [row] if row.checked == checked && row.explanation.starts_with(&advice)),
            || format!("not {advice:?} for {checked}:\n{self}"),
        )
    }

    /// Expects one row, and the meaning and advice of its reason in it.
    fn expect_only(&self, outcome: &str, reason: Option<Reason>) -> Result<()> {
        let advice = reason.map_or("", Reason::advice);
        ensure(
            matches!(&self.0[..], [row] if row.checked == "the sign-in"
                && row.outcome == outcome && row.explanation.contains(advice)),
            || format!("not only {outcome} with {advice:?}:\n{self}"),
        )
    }

    fn whole(&self) -> &str {
        self.0.first().map_or("", |row| &row.explanation)
    }
}

impl std::fmt::Display for Explanation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|row| {
            writeln!(f, "{}: {}: {}", row.checked, row.outcome, row.explanation)
        })
    }
}

fn after_signature(rig: &Rig) -> Result<()> {
    let token = rig.user("mallory@contoso.com").text()?;
    let sign_in = rig.sign_in(&rig.server, "alice@contoso.com", &token)?;
    let explanation = Explanation::of(rig, &rig.server, &sign_in.mark)?;
    explanation.expect(&[
        ("the sign-in", "refused"),
        ("settings, role, connection", "passed"),
        ("signature", "passed"),
        ("audience", "passed"),
        ("multi-factor", "passed"),
        ("revocation", "passed"),
    ])?;
    explanation.expect_failed("principal", Reason::ObjectIdMismatch)?;
    ensure(
        explanation.to_string().contains("expected: user a11ce000-")
            && explanation
                .to_string()
                .contains(" got: user mallory@contoso.com, object id "),
        || explanation.to_string(),
    )?;
    ensure(
        explanation.whole().contains("user mallory@contoso.com")
            && !explanation.whole().contains("No signature"),
        || explanation.to_string(),
    )
}

fn before_signature(rig: &Rig) -> Result<()> {
    let deviation =
        entra_emulator::Deviation::named("foreign-key-known-kid").ok_or("no deviation")?;
    let token = rig
        .user("alice@contoso.com")
        .claim("upn", "invented@contoso.com")
        .deviation(deviation)
        .text()?;
    for (secret, check, reason) in [
        (token.as_str(), "signature", Reason::SignatureInvalid),
        ("no token", "form of the token", Reason::TokenMalformed),
    ] {
        let sign_in = rig.sign_in(&rig.server, "alice@contoso.com", secret)?;
        let explanation = Explanation::of(rig, &rig.server, &sign_in.mark)?;
        explanation.expect(&[
            ("settings, role, connection", "passed"),
            ("issuer and tenant", "not reached"),
            ("principal", "not reached"),
        ])?;
        explanation.expect_failed(check, reason)?;
        ensure(
            explanation.whole().contains("No signature was verified")
                && !explanation.to_string().contains("invented"),
            || explanation.to_string(),
        )?;
    }
    Ok(())
}

fn accepted(rig: &Rig) -> Result<()> {
    let sign_in = rig.accepted(&rig.server, "dba", &rig.alice()?)?;
    let explanation = Explanation::of(rig, &rig.server, &sign_in.mark)?;
    explanation.expect(&[("the sign-in", "authenticated"), ("revocation", "passed")])?;
    ensure(
        explanation.0.len() == 11 && explanation.0[1..].iter().all(|row| row.outcome == "passed"),
        || explanation.to_string(),
    )?;
    ensure(
        explanation
            .whole()
            .contains("through group dba00000-0000-4000-8000-000000000010"),
        || explanation.to_string(),
    )
}

fn wrong_line(rig: &Rig) -> Result<()> {
    let mut server = rig.server("explain", |plan| {
        plan.hba(&["hostssl all trusted all trust", OUR_LINES[0]])
    })?;
    rig.person(&server, "trusted")?;
    rig.person(&server, "someone")?;
    let sign_in = rig.sign_in(&server, "trusted", "")?;
    let explanation = Explanation::of(rig, &server, &sign_in.mark)?;
    explanation.expect_only("refused", Some(Reason::WrongLine))?;
    ensure(explanation.whole().contains("method trust"), || {
        explanation.to_string()
    })?;
    // Ended by the server while the client thought about it: nothing is known of any check.
    server.configure(&[("authentication_timeout", Some("3s"))])?;
    let (mut connection, mark) = rig.connect(&server, "someone")?;
    connection.request()?;
    connection.outcome()?;
    let explanation = Explanation::of(rig, &server, &mark)?;
    ensure(
        explanation.0[0].outcome == "interrupted"
            && explanation.whole().contains(Reason::Interrupted.advice())
            && explanation.0[1..]
                .iter()
                .all(|row| row.outcome == "not recorded"),
        || explanation.to_string(),
    )
}

fn local_roles(rig: &Rig) -> Result<()> {
    let sign_in = |role: &str, secret: &str| -> Result<Explanation> {
        let mark = format!("test-{}", Uuid::new_v4().simple());
        rig.attempt(&rig.server, role, secret)
            .psql(&format!("application_name={mark}"), "SELECT 1")?;
        Explanation::of(rig, &rig.server, &mark)
    };
    let accepted = sign_in("local", "local password")?;
    accepted.expect_only("authenticated", None)?;
    for role in ["local", "nobody-of-that-name"] {
        let refused = sign_in(role, "wrong")?;
        // Nothing about tokens, which have no part in it.
        refused.expect_only("refused", Some(Reason::PasswordFailed))?;
    }
    // A line that is not aadauth's: the tests' own, which is `peer`.
    let id = until("a peer sign-in is in the audit", || {
        let id = rig
            .server
            .sql("SELECT event_id FROM aadauth.sign_in_audit WHERE method = 'peer' LIMIT 1")?;
        Ok((!id.is_empty()).then_some(id))
    })?;
    let rows = rig.server.sql(&format!(
        "SELECT string_agg(checked || '=' || outcome, ',')
         FROM aadauth.explain_sign_in('{id}')"
    ))?;
    ensure(rows == "the sign-in=authenticated", || rows.clone())
}

fn left(rig: &Rig) -> Result<()> {
    let (mut connection, mark) = rig.connect(&rig.server, "alice@contoso.com")?;
    connection.request()?;
    drop(connection);
    let explanation = Explanation::of(rig, &rig.server, &mark)?;
    explanation.expect(&[
        ("the sign-in", "interrupted"),
        ("form of the token", "not reached"),
    ])?;
    explanation.expect_failed("settings, role, connection", Reason::NoPassword)
}

fn unknown(rig: &Rig) -> Result<()> {
    let explain = |database: &str, id: &str| -> Result<String> {
        let sql = format!("SELECT * FROM aadauth.explain_sign_in('{id}')");
        match rig.server.sql_in(database, &sql) {
            Ok(rows) => Err(format!("explained: {rows}").into()),
            Err(error) => Ok(error.to_string()),
        }
    };
    // Without an event, it is of the last refusal, which the view names as well.
    let own = rig.server("explain-last", |plan| plan)?;
    let last = |count: &str| own.sql(&format!("SELECT {count} FROM aadauth.explain_sign_in()"));
    ensure(last("count(*)")? == "0", || "explained nothing".to_owned())?;
    rig.person(&own, "someone")?;
    let alice = rig.alice()?;
    for (secret, reason) in [
        ("x", "token-malformed"),
        (alice.as_str(), "object-id-mismatch"),
    ] {
        rig.refused(&own, "someone", secret, reason)?;
        let found = last(&format!(
            "count(*) FILTER (WHERE explanation LIKE '{reason}%')"
        ))?;
        ensure(found == "1", || format!("{reason}: {found}"))?;
    }
    let same = own.sql(
        "SELECT bool_and(e.explanation IS NOT DISTINCT FROM l.explanation)
         FROM (SELECT event_id FROM aadauth.sign_ins WHERE outcome = 'refused' LIMIT 1) AS s,
             LATERAL aadauth.explain_sign_in(s.event_id) WITH ORDINALITY AS e
         JOIN aadauth.explain_sign_in() WITH ORDINALITY AS l USING (ordinality)",
    )?;
    ensure(same == "t", || same)?;
    let error = explain("postgres", "00000000-0000-4000-8000-000000000000")?;
    ensure(
        error.contains("P0002: there is no sign-in event 00000000-0000-4000-8000-000000000000")
            && error.contains("HINT:  Take the event_id from aadauth.sign_in_audit."),
        || error.clone(),
    )?;
    rig.server.sql("CREATE DATABASE explain_elsewhere")?;
    rig.server
        .sql_in("explain_elsewhere", "CREATE EXTENSION aadauth")?;
    let sign_in = rig.accepted(&rig.server, "alice@contoso.com", &rig.alice()?)?;
    let event = rig.event(&rig.server, &sign_in.mark)?;
    let error = explain(
        "explain_elsewhere",
        event["event_id"].as_str().unwrap_or_default(),
    )?;
    ensure(
        error.contains("55000: sign-ins, revocations and group sync are not recorded in database \"explain_elsewhere\"")
            && error.contains("HINT:  Connect to database \"postgres\", which aadauth.database names."),
        || error.clone(),
    )
}

fn readers(rig: &Rig) -> Result<()> {
    rig.server.sql(
        "CREATE ROLE explain_auditor; GRANT aadauth_auditor TO explain_auditor;
         CREATE ROLE explain_reader; GRANT pg_read_all_data TO explain_reader",
    )?;
    let sign_in = rig.accepted(&rig.server, "alice@contoso.com", &rig.alice()?)?;
    let event = rig.event(&rig.server, &sign_in.mark)?;
    let id = event["event_id"].as_str().unwrap_or_default();
    let explain = format!("SELECT count(*) > 1 FROM aadauth.explain_sign_in('{id}')");
    let as_auditor = rig
        .server
        .sql(&format!("SET ROLE explain_auditor; {explain}"))?;
    ensure(as_auditor == "t", || as_auditor)?;
    let refused = |sqlstate: &str| match rig
        .server
        .sql(&format!("SET ROLE explain_reader; {explain}"))
    {
        Ok(rows) => Err(format!("explained to everybody: {rows}").into()),
        Err(error) => ensure(error.to_string().contains(sqlstate), || error.to_string()),
    };
    refused("42501: permission denied for function explain_sign_in")?;
    // A role that may call it sees what the table shows it: with pg_read_all_data, no row.
    rig.server
        .sql("GRANT EXECUTE ON FUNCTION aadauth.explain_sign_in(uuid) TO explain_reader")?;
    let outcome = refused("P0002: there is no sign-in event");
    rig.server
        .sql("REVOKE EXECUTE ON FUNCTION aadauth.explain_sign_in(uuid) FROM explain_reader")?;
    outcome
}

/// The plan's other part may be parallel.
fn parallel(rig: &Rig) -> Result<()> {
    let sign_in = rig.accepted(&rig.server, "alice@contoso.com", &rig.alice()?)?;
    let event = rig.event(&rig.server, &sign_in.mark)?;
    let id = event["event_id"].as_str().unwrap_or_default();
    let cheap = "SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0;
        SET min_parallel_index_scan_size = 0; SET enable_indexscan = off; SET enable_bitmapscan = off";
    let query = format!(
        "SELECT count(*) > 1 FROM aadauth.sign_in_audit AS a, LATERAL aadauth.explain_sign_in(a.event_id) AS e
         WHERE a.event_id = '{id}'"
    );
    let rows = rig.server.sql(&format!("{cheap}; {query}"))?;
    ensure(rows == "t", || rows)
}

fn search_path(rig: &Rig) -> Result<()> {
    let sign_in = rig.accepted(&rig.server, "alice@contoso.com", &rig.alice()?)?;
    let event = rig.event(&rig.server, &sign_in.mark)?;
    let id = event["event_id"].as_str().unwrap_or_default();
    let rows = rig.server.sql(&format!(
        "CREATE SCHEMA hostile;
         CREATE FUNCTION hostile.never(uuid, uuid) RETURNS boolean LANGUAGE sql AS 'SELECT false';
         CREATE OPERATOR hostile.= (LEFTARG = uuid, RIGHTARG = uuid, FUNCTION = hostile.never);
         SET search_path = hostile, pg_catalog;
         SELECT count(*) > 1 FROM aadauth.explain_sign_in('{id}')"
    ))?;
    rig.server.sql("DROP SCHEMA hostile CASCADE")?;
    ensure(rows == "t", || rows)
}

fn fits(rig: &Rig) -> Result<()> {
    const GUEST: &str = "bob_fabrikam.com#EXT#@contoso.onmicrosoft.com";
    let token = rig.user(GUEST).text()?;
    let sign_in = rig.sign_in(&rig.server, "alice@contoso.com", &token)?;
    let event = rig.event(&rig.server, &sign_in.mark)?;
    let id = event["event_id"].as_str().unwrap_or_default();
    let mut psql = as_postgres("psql")?;
    psql.args(["-X", "-U", "postgres", "-d", "postgres", "-h"])
        .arg(rig.server.socket())
        .args(["-p", &rig.server.port().to_string()])
        .args(["-P", "format=wrapped", "-P", "columns=80"])
        .args([
            "-c",
            &format!("SELECT * FROM aadauth.explain_sign_in('{id}')"),
        ])
        .stdin(Stdio::null());
    let table = checked(&mut psql)?;
    let widest = table.lines().map(|line| line.chars().count()).max();
    ensure(
        widest.is_some_and(|width| (60..=80).contains(&width)),
        || format!("{widest:?} wide:\n{table}"),
    )
}
