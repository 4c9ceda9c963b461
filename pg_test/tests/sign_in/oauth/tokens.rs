//! Tokens and roles: the same decision as at the prompt.

use std::collections::HashSet;

use entra_emulator::Deviation;
use pg_test::Result;
use pg_test::bearer::message;
use pg_test::server::Server;
use pg_test::wire::Outcome;

use super::{line, line_of, server, server_with};
use crate::reasons::subject_of;
use crate::rig::{Rig, ensure};

/// The principals of the emulator's directory that tokens are made for.
fn map_subjects(rig: &Rig, server: &Server) -> Result<()> {
    for (role, id, kind, mfa) in [
        (
            "alice@contoso.com",
            "a11ce000-0000-4000-8000-000000000001",
            "user",
            false,
        ),
        (
            "carol@contoso.com",
            "ca401000-0000-4000-8000-000000000003",
            "user",
            true,
        ),
        (
            "dba",
            "dba00000-0000-4000-8000-000000000010",
            "group",
            false,
        ),
        (
            "reporting",
            "4e904700-0000-4000-8000-000000000021",
            "service",
            false,
        ),
    ] {
        server.sql(&format!(
            "SELECT pgaadauth_create_principal_with_oid('{role}', '{id}', '{kind}', false, {mfa})"
        ))?;
    }
    rig.await_keys(server)
}

/// Each kind of role, the principal that the server reports, and what the audit and the log record.
pub fn good(rig: &Rig) -> Result<()> {
    let server = server(rig, "oauth")?;
    map_subjects(rig, &server)?;
    for kind in ["user", "user-with-mfa", "group", "service"] {
        let (role, subject) = subject_of(kind)?;
        let token = rig.emulator.token(subject).text()?;
        let sign_in = rig.bearer_accepted(&server, role, &token)?;
        let event = rig.event(&server, &sign_in.mark)?;
        ensure(
            event["outcome"] == "authenticated" && event["method"] == "entra-token",
            || event.to_string(),
        )?;
    }
    let alice = "a11ce000-0000-4000-8000-000000000001";
    let log = server.log_length()?;
    let (mut connection, mark) = rig.connect(&server, "alice@contoso.com")?;
    connection.bearer_request()?;
    let outcome = connection.bearer_outcome(&message(&format!("Bearer {}", rig.alice()?)))?;
    ensure(outcome.is_in(), || format!("{outcome:?}"))?;
    for (query, expected) in [
        ("SELECT system_user", format!("oauth:{alice}")),
        ("SELECT session_user", "alice@contoso.com".to_owned()),
        (
            "SELECT object_id FROM aadauth.current_principal()",
            alice.to_owned(),
        ),
    ] {
        let said = connection.query(query)?;
        ensure(said == [expected.clone()], || {
            format!("{query}: {said:?}, not {expected}")
        })?;
    }
    let session = server.sql(&format!(
        "SELECT count(*) FROM aadauth.sessions WHERE object_id = '{alice}'"
    ))?;
    ensure(session == "1", || format!("{session} sessions"))?;
    let event = rig.event(&server, &mark)?;
    ensure(event["object_id"] == alice, || event.to_string())?;
    server
        .wait_for_log(
            log,
            "Microsoft Entra ID connection authorized: role=\"alice@contoso.com\" UPN=alice@contoso.com",
        )
        .map(drop)
}

/// What PostgreSQL takes off before the validator sees the token: any number of spaces after the scheme may
/// precede it (RFC 6750, section 2.1).
const VALID_HERE: &str = "leading-space";

/// Every invalid-token case is refused for the same reason as at the prompt.
pub fn invalid(rig: &Rig) -> Result<()> {
    let server = server(rig, "oauth-invalid")?;
    map_subjects(rig, &server)?;
    let mut tried = 0;
    for deviation in Deviation::all() {
        // The refresh that an unknown key causes is rate-limited: what a test after it is told depends on the time.
        if deviation.expected == "key-unknown" || deviation.name == VALID_HERE {
            continue;
        }
        let (role, subject) = subject_of(&deviation.held.to_string())?;
        let token = rig.emulator.token(subject).deviation(deviation).text()?;
        rig.bearer_refused(&server, role, &token, deviation.expected)
            .map_err(|error| format!("{}: {error}", deviation.name))?;
        tried += 1;
    }
    ensure(tried > 50, || format!("only {tried} invalid tokens"))
}

/// A role that is not mapped is refused, whatever the token, and the client does not learn whether it exists.
pub fn unmapped(rig: &Rig) -> Result<()> {
    let server = server(rig, "oauth-unmapped")?;
    server.sql("CREATE ROLE local LOGIN PASSWORD 'secret'")?;
    let good = rig.alice()?;
    let mut told = HashSet::new();
    for role in ["local", "nobody", "postgres"] {
        for token in [good.as_str(), "x", "a.b.c"] {
            let sign_in = rig.bearer_sign_in(&server, role, token)?;
            rig.expect_refused(&server, role, &sign_in, "role-not-mapped")?;
            let event = rig.event(&server, &sign_in.mark)?;
            ensure(event["method"] == "entra-token", || event.to_string())?;
            // Auditors learn whose token it was, if it is one.
            ensure(event["object_id"].is_string() == (token == good), || {
                event.to_string()
            })?;
            let Outcome::Refused(refusal) = sign_in.outcome else {
                return Err("not refused".into());
            };
            told.insert(format!("{refusal:?}").replace(role, "ROLE"));
        }
    }
    // Nor by the form of the token, which is judged for mapped roles alone.
    let mapped = rig.person(&server, "mapped")?;
    for token in ["x", "a.b.c"] {
        let sign_in = rig.bearer_sign_in(&server, &mapped.role, token)?;
        rig.expect_refused(&server, &mapped.role, &sign_in, "token-malformed")?;
        let Outcome::Refused(refusal) = sign_in.outcome else {
            return Err("not refused".into());
        };
        told.insert(format!("{refusal:?}").replace(&mapped.role, "ROLE"));
    }
    ensure(told.len() == 1, || {
        format!("the client can tell apart {told:?}")
    })
}

pub fn replication(rig: &Rig) -> Result<()> {
    let lines = [
        line(rig, "all"),
        line_of(
            rig,
            "hostssl replication",
            "all",
            "delegate_ident_mapping=1",
        ),
    ];
    let server = server_with(
        rig,
        "oauth-replication",
        &[lines[0].as_str(), lines[1].as_str()],
        |plan| plan,
    )?;
    let person = rig.person(&server, "someone")?;
    server.sql("ALTER ROLE someone REPLICATION; CREATE ROLE local LOGIN REPLICATION")?;
    let token = rig.token_of(&person)?;
    for more in [
        &[("replication", "true")][..],
        &[("database", "postgres"), ("replication", "database")],
    ] {
        let sign_in = rig.bearer_sign_in_with(&server, "someone", &token, more)?;
        ensure(sign_in.outcome.is_in(), || {
            format!("{more:?}: {:?}", sign_in.outcome)
        })?;
        for (role, token, reason) in [
            ("someone", "not a token", "token-malformed"),
            ("someone", rig.alice()?.as_str(), "object-id-mismatch"),
            ("local", token.as_str(), "role-not-mapped"),
        ] {
            let sign_in = rig.bearer_sign_in_with(&server, role, token, more)?;
            rig.expect_refused(&server, role, &sign_in, reason)?;
        }
    }
    Ok(())
}

/// The token has been sent by then, and is still refused.
pub fn without_tls(rig: &Rig) -> Result<()> {
    let line = line_of(rig, "host all", "all", "delegate_ident_mapping=1");
    let server = server_with(rig, "oauth-plain", &[&line], |plan| plan)?;
    let person = rig.person(&server, "someone")?;
    let token = rig.token_of(&person)?;
    let (mut connection, mark) =
        rig.connect_with(&server, "someone", None, &[("database", "postgres")])?;
    let request = connection.bearer_request()?;
    let outcome = connection.bearer_outcome(&message(&format!("Bearer {token}")))?;
    let sign_in = crate::rig::SignIn {
        request,
        outcome,
        mark,
    };
    rig.expect_refused(&server, "someone", &sign_in, "tls-required")?;
    server.wait_for_log(
        0,
        "It may have been disclosed, and is valid until it expires",
    )?;
    rig.bearer_accepted(&server, "someone", &token).map(drop)
}

/// Not in the log at its most talkative, nor in the audit, whatever became of the token.
pub fn none_left(rig: &Rig) -> Result<()> {
    const PIECE: usize = 16;
    let server = server_with(rig, "oauth-sentinel", &[&line(rig, "all")], |plan| {
        plan.set("log_min_messages", "debug5")
            .set("log_error_verbosity", "verbose")
            .set("log_connections", "all")
    })?;
    let person = rig.person(&server, "someone")?;
    let good = rig.token_of(&person)?;
    let other = rig.alice()?;
    let large = rig.user("alice@contoso.com").size(20_000).text()?;
    let mut marks = Vec::new();
    for (role, token) in [
        ("someone", good.clone()),
        ("someone", other.clone()),
        ("someone", large.clone()),
        ("nobody", good.clone()),
        // Core refuses to take these apart.
        ("someone", format!("{good}\u{e9}")),
        ("someone", format!("{good} {other}")),
    ] {
        marks.push(rig.bearer_sign_in(&server, role, &token)?.mark);
    }
    for mark in &marks {
        rig.event(&server, mark)?;
    }
    let pieces: HashSet<&[u8]> = [&good, &other, &large]
        .iter()
        .filter_map(|token| token.split_once('.'))
        .flat_map(|(_, secret)| secret.as_bytes().windows(PIECE))
        .collect();
    let audit = server.sql("SELECT json_agg(s) FROM aadauth.sign_in_audit s")?;
    let log = server.log()?;
    for (place, content) in [("the log", &log), ("the audit", &audit)] {
        let found = content
            .as_bytes()
            .windows(PIECE)
            .find(|piece| pieces.contains(*piece));
        ensure(found.is_none(), || {
            format!(
                "{place} has {:?} of a token",
                String::from_utf8_lossy(found.unwrap_or_default())
            )
        })?;
    }
    ensure(log.contains(&person.object_id.to_string()), || {
        "the log does not name the principal".to_owned()
    })
}
