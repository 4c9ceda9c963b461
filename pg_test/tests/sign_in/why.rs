//! What `aadauth.why` says, to whom, and whether what it says to do helps.

use pg_test::Result;
use pg_test::emulator::AUDIENCE_V2;
use pg_test::server::Server;
use pg_test::wait::until;
use serde_json::Value;
use uuid::Uuid;

use crate::Test;
use crate::rig::{Rig, ensure};

pub const TESTS: &[Test] = &[
    ("names_that_no_mapped_role_has", names),
    ("what_is_expected_is_beside_what_came", principals),
    ("a_v2_token_for_a_server_with_a_uri", audience),
    ("nothing_of_a_token_that_is_not_verified", unverified),
    ("to_superusers_and_auditors_alone", readers),
    ("the_last_refusals_newest_first", newest),
    ("other_peoples_search_path_changes_nothing", search_path),
];

/// The rows, once there are so many.
fn rows(server: &Server, who: &str, count: usize) -> Result<Vec<Value>> {
    let query = format!(
        "SELECT coalesce(json_agg(w ORDER BY ordinality), '[]')
         FROM aadauth.why('{}') WITH ORDINALITY AS w",
        who.replace('\'', "''")
    );
    until(&format!("aadauth.why('{who}') has {count} rows"), || {
        let rows: Vec<Value> = serde_json::from_str(&server.sql(&query)?)?;
        Ok((rows.len() == count).then_some(rows))
    })
}

/// Expects these texts in the columns of a row.
fn expect(row: &Value, columns: &[(&str, &str)]) -> Result<()> {
    columns.iter().try_for_each(|(column, part)| {
        ensure(
            row[*column]
                .as_str()
                .is_some_and(|text| text.contains(part)),
            || format!("no {part:?} in {column}: {row:#}"),
        )
    })
}

/// Runs the statements of a remedy, as an administrator who pastes them.
fn paste(server: &Server, row: &Value, object_id: Uuid) -> Result<()> {
    let remedy = row["remedy"].as_str().unwrap_or_default();
    let statements: Vec<&str> = remedy.lines().filter(|line| line.ends_with(';')).collect();
    ensure(!statements.is_empty(), || format!("no statement: {row:#}"))?;
    for statement in statements {
        server.sql_in_new_session(&statement.replace("<object id>", &object_id.to_string()))?;
    }
    Ok(())
}

fn with_password(rig: &Rig, server: &Server, role: &str) -> Result<()> {
    let printed = rig.attempt(server, role, "x").psql("", "SELECT 1")?;
    ensure(!printed.success, || format!("{role} got in"))
}

fn names(rig: &Rig) -> Result<()> {
    const GUEST: &str = "bob_fabrikam.com#EXT#@contoso.onmicrosoft.com";
    let server = rig.server("why-names", |plan| plan)?;
    rig.person(&server, "carol@contoso.com")?;
    rig.person(&server, GUEST)?;
    server.sql("CREATE ROLE app LOGIN PASSWORD 'secret'")?;
    for (role, remedy) in [
        (
            "Carol@Contoso.com",
            "Upper and lower case matter in names of roles: connect with user=carol@contoso.com",
        ),
        ("carol@contoso.con", "connect with user=carol@contoso.com"),
        ("bob@fabrikam.com", GUEST),
    ] {
        with_password(rig, &server, role)?;
        // What is so now, and the refusal.
        let rows = rows(&server, role, 2)?;
        let state = format!("the role \"{role}\" does not exist");
        for row in &rows {
            expect(row, &[("role", role), ("got", &state), ("remedy", remedy)])?;
        }
        expect(&rows[0], &[("reason", "role-not-mapped")])?;
        expect(&rows[1], &[("reason", "password-failed")])?;
        ensure(
            rows[0]["time"].is_null() && rows[1]["time"].is_string(),
            || format!("{rows:#?}"),
        )?;
    }
    // As the client wrote it or not.
    let other_case = rows(&server, "carol@contoso.com", 1)?;
    expect(&other_case[0], &[("role", "Carol@Contoso.com")])?;
    with_password(rig, &server, "app")?;
    let of_app = rows(&server, "app", 2)?;
    expect(
        &of_app[1],
        &[(
            "got",
            "the role \"app\" exists and is not mapped: the client was asked for a password by SCRAM",
        )],
    )?;
    let object_id = Uuid::new_v4();
    paste(&server, &of_app[1], object_id)?;
    let token = rig.user("alice@contoso.com").object_id(object_id).text()?;
    rig.accepted(&server, "app", &token)?;
    rows(&server, "app", 1)?;
    // Names are cut to 63 bytes.
    let long = "x".repeat(70);
    let of_long = rows(&server, &long, 1)?;
    expect(
        &of_long[0],
        &[("got", "names are cut to 63 bytes, and this one has 70")],
    )
}

fn principals(rig: &Rig) -> Result<()> {
    let server = rig.server("why-principals", |plan| plan)?;
    let alice = rig.person(&server, "alice@contoso.com")?;
    let mallory = Uuid::new_v4();
    let token = rig.user("mallory@contoso.com").object_id(mallory).text()?;
    rig.refused(&server, "alice@contoso.com", &token, "object-id-mismatch")?;
    let (expected, got) = (alice.object_id.to_string(), mallory.to_string());
    for (who, count) in [
        ("alice@contoso.com", 1),
        // A name, and an object id, that no role has.
        ("Mallory@contoso.com", 2),
        (got.as_str(), 2),
    ] {
        let rows = rows(&server, who, count)?;
        expect(
            &rows[count - 1],
            &[
                ("reason", "object-id-mismatch"),
                ("expected", &expected),
                ("got", &got),
                ("got", "user mallory@contoso.com"),
                ("remedy", "Only if this principal is to have the role"),
            ],
        )?;
        let explained = server.sql(&format!(
            "SELECT explanation FROM aadauth.explain_sign_in('{}') WHERE outcome = 'failed'",
            rows[count - 1]["event_id"].as_str().ok_or("no id")?
        ))?;
        ensure(
            explained.contains(&format!("expected: user {expected}")) && explained.contains(&got),
            || explained.clone(),
        )?;
    }
    // Once mallory has a role, it is that.
    rig.map(&server, "mallory", &got, "user")?;
    let of_alice = rows(&server, "alice@contoso.com", 1)?;
    expect(&of_alice[0], &[("remedy", "connect with user=mallory")])?;
    rig.accepted(&server, "mallory", &token).map(drop)
}

fn audience(rig: &Rig) -> Result<()> {
    let server = rig.server("why-audience", |plan| {
        plan.set("aadauth.audience", AUDIENCE_V2)
    })?;
    let person = rig.person(&server, "someone")?;
    let token = |audience| {
        let token = rig.user("alice@contoso.com").object_id(person.object_id);
        token.audience(audience).text()
    };
    let refused = |token: &str| {
        let sign_in = rig.sign_in(&server, "someone", token)?;
        ensure(!sign_in.outcome.is_in(), || "let in".to_owned())
    };
    let v1 = token(pg_test::emulator::AUDIENCE)?;
    let v2 = token(AUDIENCE_V2)?;
    refused(&v1)?;
    let rows_of_v1 = rows(&server, "someone", 1)?;
    expect(
        &rows_of_v1[0],
        &[
            ("expected", AUDIENCE_V2),
            (
                "got",
                "a v1 token, audience api://aada0000-0000-4000-8000-000000000050",
            ),
            (
                "remedy",
                "az account get-access-token --resource 'api://aada0000-0000-4000-8000-000000000051'",
            ),
        ],
    )?;
    refused(&v2)?;
    let of_both = rows(&server, "someone", 2)?;
    expect(
        &of_both[0],
        &[
            ("got", "a v2 token"),
            ("got", pg_test::emulator::AUDIENCE_V2_ID),
            ("remedy", "v2 tokens name the application id"),
        ],
    )?;
    let last = server.sql("SELECT string_agg(explanation, ' ') FROM aadauth.explain_sign_in()")?;
    ensure(last.contains("v2 tokens name the application id"), || {
        last.clone()
    })?;
    paste(&server, &of_both[0], Uuid::nil())?;
    until("the audience is accepted", || {
        Ok(rig.session(&server, "someone", &v2).ok().map(drop))
    })?;
    // What was issued for this server is not recorded of those who get in.
    let recorded = server.sql(
        "SELECT count(*) FROM aadauth.sign_in_audit
         WHERE aadauth.await_sign_ins() AND outcome = 'authenticated' AND token_audience IS NOT NULL",
    )?;
    ensure(recorded == "0", || recorded)
}

fn unverified(rig: &Rig) -> Result<()> {
    let server = rig.server("why-unverified", |plan| plan)?;
    rig.person(&server, "someone")?;
    let deviation =
        entra_emulator::Deviation::named("foreign-key-known-kid").ok_or("no deviation")?;
    let token = rig
        .user("alice@contoso.com")
        .claim("aud", "api://invented")
        .claim("upn", "invented@contoso.com")
        .deviation(deviation)
        .text()?;
    rig.refused(&server, "someone", &token, "signature-invalid")?;
    let rows = rows(&server, "someone", 1)?;
    expect(
        &rows[0],
        &[
            ("expected", pg_test::emulator::TENANT),
            ("expected", &rig.emulator.authority()),
            ("got", "not verified"),
        ],
    )?;
    let event =
        server.sql("SELECT json_agg(a) FROM aadauth.sign_in_audit AS a WHERE role = 'someone'")?;
    for text in [format!("{rows:?}"), event] {
        let part = token.get(..40).ok_or("a short token")?;
        ensure(!text.contains("invented") && !text.contains(part), || {
            text.clone()
        })?;
    }
    Ok(())
}

fn newest(rig: &Rig) -> Result<()> {
    let server = rig.server("why-newest", |plan| {
        plan.set("aadauth.audit_single_refusals", "100")
    })?;
    let person = rig.person(&server, "someone")?;
    for _ in 0..12 {
        rig.refused(&server, "someone", "x", "token-malformed")?;
    }
    let deviation = entra_emulator::Deviation::named("expired").ok_or("no deviation")?;
    let expired = rig
        .user("alice@contoso.com")
        .object_id(person.object_id)
        .deviation(deviation)
        .text()?;
    rig.refused(&server, "someone", &expired, "expired")?;
    let rows = rows(&server, "someone", 10)?;
    expect(
        &rows[0],
        &[
            ("reason", "expired"),
            ("expected", "a sign-in before "),
            ("remedy", "Get a new token"),
        ],
    )?;
    let times: Vec<&str> = rows.iter().filter_map(|row| row["time"].as_str()).collect();
    ensure(
        times.len() == 10 && times.is_sorted_by(|one, other| one >= other),
        || format!("{times:?}"),
    )
}

fn readers(rig: &Rig) -> Result<()> {
    let server = rig.server("why-readers", |plan| plan)?;
    server.sql(
        "CREATE ROLE auditor IN ROLE aadauth_auditor; CREATE ROLE reader IN ROLE pg_read_all_data",
    )?;
    let asked = |role: &str| {
        server.sql(&format!(
            "SET ROLE {role}; SELECT count(*) FROM aadauth.why('nobody')"
        ))
    };
    ensure(asked("auditor")? == "1", || "not to an auditor".to_owned())?;
    let refused = |expected: &str| match asked("reader") {
        Ok(rows) => Err(format!("to everybody: {rows}").into()),
        Err(error) => ensure(error.to_string().contains(expected), || error.to_string()),
    };
    refused("42501: permission denied for function why")?;
    server.sql("GRANT EXECUTE ON FUNCTION aadauth.why(text) TO reader")?;
    refused("42501: permission denied to see why sign-ins were refused")
}

fn search_path(rig: &Rig) -> Result<()> {
    let server = rig.server("why-path", |plan| plan)?;
    rig.person(&server, "someone")?;
    rig.refused(&server, "someone", "x", "token-malformed")?;
    rows(&server, "someone", 1)?;
    let found = server.sql(
        "CREATE SCHEMA hostile;
         CREATE FUNCTION hostile.never(text, text) RETURNS boolean LANGUAGE sql AS 'SELECT false';
         CREATE OPERATOR hostile.= (LEFTARG = text, RIGHTARG = text, FUNCTION = hostile.never);
         SET search_path = hostile, pg_catalog;
         SELECT count(*) FROM aadauth.why('someone')",
    )?;
    ensure(found == "1", || found)
}
