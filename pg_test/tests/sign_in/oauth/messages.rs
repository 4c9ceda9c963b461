//! What a client may send in place of a token.

use pg_test::Result;
use pg_test::bearer::{Answer, MECHANISM, message};
use pg_test::emulator::AUDIENCE;
use pg_test::server::Server;
use pg_test::wire::Outcome;
use serde_json::Value;

use super::{issuer, line, server, server_with};
use crate::audit::hiding::{Attack, HERE};
use crate::audit::ledger::expect_sum;
use crate::audit::logged::{count, expect_counted};
use crate::fail_closed::stays_up;
use crate::rig::{Rig, ensure};

/// How often attempts were counted, by outcome.
fn counted(server: &Server, outcome: &str) -> Result<u64> {
    Ok(server
        .sql(&format!(
            "SELECT coalesce(sum(value), 0) FROM aadauth.statistics WHERE labels ->> 'outcome' = '{outcome}'"
        ))?
        .parse()?)
}

/// As libpq asks before it fetches a token: one event, which is no refusal, the same for every name.
pub fn discovery(rig: &Rig) -> Result<()> {
    let server = server(rig, "oauth-discovery")?;
    rig.person(&server, "someone")?;
    server.sql("CREATE ROLE local LOGIN")?;
    let refused = counted(&server, "refused")?;
    let mut told = Vec::new();
    for role in ["someone", "local", "nobody"] {
        for hangs_up in [false, true] {
            let (mut connection, mark) = rig.connect(&server, role)?;
            connection.bearer_request()?;
            let Answer::Failed(answer) = connection.bearer(&message(""))? else {
                return Err(format!("{role}: no answer").into());
            };
            let place = format!("{}/.well-known/openid-configuration", issuer(rig));
            ensure(
                answer["status"] == "invalid_token"
                    && answer["openid-configuration"] == place.as_str()
                    && answer["scope"] == format!("{AUDIENCE}/.default").as_str(),
                || answer.to_string(),
            )?;
            if !hangs_up {
                connection.send(Some(b'p'), b"\x01")?;
                let Outcome::Refused(refusal) = connection.outcome()? else {
                    return Err(format!("{role}: not refused").into());
                };
                told.push(format!("{refusal:?}").replace(role, "ROLE"));
            }
            drop(connection);
            let event = rig.event(&server, &mark)?;
            ensure(
                event["outcome"] == "interrupted" && event["reason"] == "token-discovery",
                || format!("{role}, {hangs_up}: {event}"),
            )?;
        }
    }
    told.dedup();
    ensure(told.len() == 1, || {
        format!("the client can tell apart {told:?}")
    })?;
    let after = counted(&server, "refused")?;
    ensure(after == refused, || format!("{after} refusals counted"))?;
    let after = counted(&server, "interrupted")?;
    ensure(after == 6, || format!("{after} interruptions counted"))
}

/// First messages that core can't take apart, or that hold no bearer token.
const MALFORMED: &[&[u8]] = &[
    b"",
    b"n,,",
    b"n,,\x01",
    b"n,,\x01\x01",
    b"n,,\x01auth=Bearer x",
    b"n,,\x01auth=Bearer x\x01",
    b"n,,\x01auth=Bearer x\x01\x01more",
    b"n,,\x01auth=Bearer x\x01auth=Bearer y\x01\x01",
    b"n,,\x01Auth=Bearer x\x01\x01",
    b"n,,\x01auth\x01\x01",
    b"n,,\x01=Bearer x\x01\x01",
    b"n,,\x01auth=Bearer \x01\x01",
    b"n,,\x01auth=Bearer\x01\x01",
    b"n,,\x01auth=Bearer x y\x01\x01",
    b"n,,\x01auth=Bearer =\x01\x01",
    b"n,,\x01auth=Bearer x=y\x01\x01",
    b"n,,\x01auth=Bearer \xc3\xa9\x01\x01",
    b"n,,\x01auth=Basic eDp5\x01\x01",
    b"n,,\x01auth=x\x01\x01",
    b"n,,\x01auth=Bearer x\0y\x01\x01",
    b"p=tls-exporter,,\x01auth=Bearer x\x01\x01",
    b"n,a=alice,\x01auth=Bearer x\x01\x01",
    b"x,,\x01auth=Bearer x\x01\x01",
    b"\x01",
];

pub fn malformed(rig: &Rig) -> Result<()> {
    let server = server(rig, "oauth-messages")?;
    let person = rig.person(&server, "someone")?;
    let token = rig.token_of(&person)?;
    stays_up(&server, || {
        let interrupted = counted(&server, "interrupted")?;
        for text in MALFORMED {
            let what = String::from_utf8_lossy(text).into_owned();
            let (mut connection, mark) = rig.connect(&server, "someone")?;
            connection.bearer_request()?;
            let outcome = connection.bearer_outcome(text)?;
            ensure(outcome.refusal().is_some(), || {
                format!("{what:?}: {outcome:?}")
            })?;
            let event = rig.event(&server, &mark)?;
            ensure(
                event["outcome"] == "refused" && event["reason"] == "token-malformed",
                || format!("{what:?}: {event}"),
            )?;
        }
        // Larger than core reads, and than our own limit.
        for (size, reason) in [(70_000, "token-malformed"), (20_000, "token-too-large")] {
            let large = message(&format!("Bearer {}", "x".repeat(size)));
            let (mut connection, mark) = rig.connect(&server, "someone")?;
            connection.bearer_request()?;
            // Core doesn't read to the end what is too long, and hangs up.
            let outcome = connection.bearer_outcome(&large);
            ensure(!matches!(outcome, Ok(Outcome::In)), || {
                format!("{size}: let in")
            })?;
            let event = rig.event(&server, &mark)?;
            ensure(
                event["outcome"] == "refused" && event["reason"] == reason,
                || format!("{size}: {event}"),
            )?;
        }
        let after = counted(&server, "interrupted")?;
        ensure(after == interrupted, || {
            "a malformed message counts as interrupted".to_owned()
        })?;
        // Another mechanism, and none: the library is not called, and nobody gets in.
        for mechanism in ["SCRAM-SHA-256", "oauthbearer", "OAUTHBEARER-PLUS", ""] {
            let (mut connection, _) = rig.connect(&server, "someone")?;
            connection.bearer_request()?;
            connection.choose(mechanism, &message(&format!("Bearer {token}")))?;
            let outcome = connection.outcome()?;
            ensure(outcome.refusal().is_some(), || {
                format!("{mechanism:?}: {outcome:?}")
            })?;
        }
        let (mut connection, _) = rig.connect(&server, "someone")?;
        connection.bearer_request()?;
        connection.password(token.as_bytes())?;
        let outcome = connection.outcome()?;
        ensure(outcome.refusal().is_some(), || {
            format!("a password: {outcome:?}")
        })?;
        // A second token after one that was refused.
        let (mut connection, mark) = rig.connect(&server, "someone")?;
        connection.bearer_request()?;
        let first = connection.bearer(&message("Bearer a.b.c"))?;
        ensure(matches!(first, Answer::Failed(_)), || format!("{first:?}"))?;
        connection.send(Some(b'p'), &message(&format!("Bearer {token}")))?;
        let outcome = connection.outcome()?;
        ensure(outcome.refusal().is_some(), || {
            format!("a second token: {outcome:?}")
        })?;
        let event = rig.event(&server, &mark)?;
        ensure(event["outcome"] == "refused", || event.to_string())?;
        // Without a first message in the choice of the mechanism, core asks for it (RFC 4422, section 3.3).
        let (mut connection, _) = rig.connect(&server, "someone")?;
        connection.bearer_request()?;
        let mut body = MECHANISM.as_bytes().to_vec();
        body.extend_from_slice(&[0, 255, 255, 255, 255]);
        connection.send(Some(b'p'), &body)?;
        connection.request()?;
        connection.send(Some(b'p'), &message(&format!("Bearer {token}")))?;
        let outcome = connection.outcome()?;
        ensure(outcome.is_in(), || format!("{outcome:?}"))
    })
}

/// Core ends the attempt before the authentication hook, so that the role has to be known before.
pub fn malformed_as_invented_roles(rig: &Rig) -> Result<()> {
    const GUESSES: u64 = 10;
    let server = server_with(rig, "oauth-hiding", &[&line(rig, "all")], |plan| {
        plan.unset("aadauth.audit_single_refusals")
            .set("aadauth.audit_local_sign_ins", "off")
    })?;
    rig.person(&server, "someone")?;
    let send = |role: &str| -> Result<()> {
        let (mut connection, _) = rig.connect(&server, role)?;
        connection.bearer_request()?;
        let outcome = connection.bearer_outcome(b"n,,")?;
        ensure(outcome.refusal().is_some(), || format!("{outcome:?}"))
    };
    let attack = Attack::make(&server, |round| {
        for number in 0..300 {
            send(&format!("invented {round} {number}"))?;
        }
        (0..GUESSES).try_for_each(|_| send("someone"))
    })?;
    let malformed = format!("reason = 'token-malformed' AND {HERE}");
    let of_someone = format!("{malformed} AND role = 'someone'");
    expect_sum(&server, &of_someone, GUESSES * attack.rounds)?;
    expect_sum(&server, &malformed, (300 + GUESSES) * attack.rounds)
}

/// What core says of the method is left out of the log with the refusal.
pub fn flood(rig: &Rig) -> Result<()> {
    const ATTEMPTS: u64 = 50;
    let server = server_with(rig, "oauth-log-rate", &[&line(rig, "all")], |plan| {
        plan.set("aadauth.log_rate", "1")
    })?;
    rig.person(&server, "someone")?;
    let token = rig.alice()?;
    for _ in 0..ATTEMPTS {
        let sign_in = rig.bearer_sign_in(&server, "someone", &token)?;
        ensure(sign_in.outcome.refusal().is_some(), || {
            format!("{:?}", sign_in.outcome)
        })?;
    }
    let logged = expect_counted(&server, "object-id-mismatch", ATTEMPTS, ATTEMPTS / 2)?;
    let by_core = count(&server.log()?, "OAuth bearer authentication failed");
    ensure(by_core == logged, || {
        format!("PostgreSQL logged {by_core} failures, {logged} are ours")
    })
}

/// The event of a client that hangs up on the refusal of its token.
pub fn refused_and_gone(rig: &Rig, server: &Server, token: &str) -> Result<Value> {
    let (mut connection, mark) = rig.connect(server, "someone")?;
    connection.bearer_request()?;
    let answer = connection.bearer(&message(&format!("Bearer {token}")))?;
    ensure(matches!(answer, Answer::Failed(_)), || {
        format!("{answer:?}")
    })?;
    drop(connection);
    let event = rig.event(server, &mark)?;
    ensure(event["outcome"] == "refused", || event.to_string())?;
    Ok(event)
}

/// A refusal stays a refusal, though the client no longer reads it.
pub fn hangs_up(rig: &Rig) -> Result<()> {
    let server = server(rig, "oauth-hangs-up")?;
    rig.person(&server, "someone")?;
    let token = rig.alice()?;
    let event = refused_and_gone(rig, &server, &token)?;
    ensure(
        event["reason"] == "object-id-mismatch"
            && event["checks"]
                .as_array()
                .is_some_and(|checks| !checks.is_empty()),
        || event.to_string(),
    )?;
    // A client that disconnects without having sent anything was not refused.
    let (mut connection, mark) = rig.connect(&server, "someone")?;
    connection.bearer_request()?;
    drop(connection);
    let event = rig.event(&server, &mark)?;
    ensure(
        event["outcome"] == "interrupted" && event["reason"] == "no-password",
        || event.to_string(),
    )
}
