//! Which sign-ins the server log has, and how many of a flood.

use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use entra_token::{Reason, client_text, sqlstate};
use pg_test::Result;
use pg_test::emulator::AUDIENCE;
use pg_test::place::major;
use pg_test::server::Server;
use pg_test::wait::until;

use super::hiding::guess;
use super::ledger::expect_sum;
use crate::rig::{Person, Rig, ensure};

const BEGINS: &str =
    "Microsoft Entra ID connection authorized: role=\"someone\" UPN=alice@contoso.com oid=";
const ENDS: &str = "Microsoft Entra ID session ended: UPN=alice@contoso.com";

/// `aadauth.log_sign_ins`, `log_connections`, `log_disconnections`; whether the log has a sign-in, and its session's end.
type Case = (Option<&'static str>, &'static str, &'static str, bool, bool);

const CASES: &[Case] = &[
    (None, "off", "off", false, false),
    (None, "on", "off", true, false),
    (None, "off", "on", false, true),
    (Some("on"), "off", "off", true, true),
    (Some("off"), "on", "on", false, false),
];

/// `log_connections` as the list that it is from PostgreSQL 18 on.
const LISTS: &[Case] = &[
    (None, "receipt,authentication", "off", false, false),
    (None, "authorization", "off", true, false),
    (None, "all", "off", true, false),
];

/// Good sign-ins are logged as the settings say; refusals, and sessions that aadauth ends, in any case.
pub fn as_set(rig: &Rig) -> Result<()> {
    let mut server = rig.server("log-sign-ins", |plan| plan.unset("aadauth.log_sign_ins"))?;
    let person = rig.person(&server, "someone")?;
    let lists = if major()?.parse::<u32>()? >= 18 {
        LISTS
    } else {
        &[]
    };
    for case in CASES.iter().chain(lists) {
        let (own, connections, disconnections, begins, ends) = *case;
        server.configure(&[
            ("aadauth.log_sign_ins", own),
            ("log_connections", Some(connections)),
            ("log_disconnections", Some(disconnections)),
        ])?;
        let mark = server.log_length()?;
        sign_in_and_out(rig, &server, &person)?;
        let log = server.log_since(mark)?;
        ensure(
            (log.contains(BEGINS), log.contains(ENDS)) == (begins, ends),
            || format!("{case:?}:\n{log}"),
        )?;
    }
    server.configure(&[("aadauth.log_sign_ins", Some("off"))])?;
    let mark = server.log_length()?;
    rig.refused(&server, "someone", &rig.alice()?, "object-id-mismatch")?;
    server.wait_for_log(mark, "Reason: object-id-mismatch.")?;
    let _session = rig.session(&server, "someone", &rig.token_of(&person)?)?;
    server.sql(&format!("SELECT aadauth.revoke('{}')", person.object_id))?;
    server
        .wait_for_log(mark, "Microsoft Entra ID session ended (principal revoked)")
        .map(drop)
}

/// A role's name has no fields that a query would take for the line's own, nor ends the one that it is in.
pub fn no_fields_in_names(rig: &Rig) -> Result<()> {
    const ROLE: &str = r#"x" UPN=mallory oid=11111111-0000-4000-8000-000000000011 "#;
    const SHOWN: &str =
        r#"role="x\x22 UPN\x3Dmallory oid\x3D11111111-0000-4000-8000-000000000011 ""#;
    let mut server = rig.server("log-fields", |plan| plan)?;
    server.configure(&[("aadauth.log_sign_ins", Some("on"))])?;
    let person = rig.person(&server, ROLE)?;
    let mark = server.log_length()?;
    sign_in_and_out(rig, &server, &person)?;
    let who = format!("UPN=alice@contoso.com oid={}", person.object_id);
    server.wait_for_log(mark, &format!("connection authorized: {SHOWN} {who}"))?;
    server
        .wait_for_log(mark, &format!("session ended: {who} {SHOWN} duration="))
        .map(drop)
}

/// Returns when the backend has gone, and with it all that it logs.
fn sign_in_and_out(rig: &Rig, server: &Server, person: &Person) -> Result<()> {
    let mut session = rig.session(server, &person.role, &rig.token_of(person)?)?;
    let pid = session.query("SELECT pg_backend_pid()")?.concat();
    drop(session);
    until("the session has ended", || {
        let gone = format!("SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = {pid})");
        Ok((server.sql(&gone)? == "t").then_some(()))
    })
}

/// The default of `aadauth.log_rate`.
const RATE: u64 = 10;
const CLIENTS: u64 = 4;
const ATTEMPTS: u64 = 50;
/// Fewer than the rate: none is left out.
const OTHERS: u64 = 5;

/// Of a flood, the log has as many lines as the setting allows, and how many are left out; of another reason all.
/// Clients and the audit notice nothing.
pub fn limited(rig: &Rig) -> Result<()> {
    let server = rig.server("log-rate", |plan| plan.unset("aadauth.log_rate"))?;
    rig.person(&server, "someone")?;
    let stranger = rig.alice()?;
    let began = second()?;
    thread::scope(|scope| -> Result<()> {
        let flood = (0..CLIENTS).map(|_| ("no token", Reason::TokenMalformed, ATTEMPTS));
        let other = (stranger.as_str(), Reason::ObjectIdMismatch, OTHERS);
        let clients: Vec<_> = flood
            .chain([other])
            .map(|(secret, reason, times)| {
                let server = &server;
                scope.spawn(move || {
                    (0..times)
                        .try_for_each(|_| refused(rig, server, secret, reason))
                        .map_err(|error| error.to_string())
                })
            })
            .collect();
        for client in clients {
            client.join().map_err(|_| "a client has failed")??;
        }
        Ok(())
    })?;
    let most = RATE * (second()? - began + 1);
    let logged = expect_counted(&server, "token-malformed", CLIENTS * ATTEMPTS, most)?;
    expect_sum(&server, "reason = 'token-malformed'", CLIENTS * ATTEMPTS)?;
    expect_counted(&server, "object-id-mismatch", OTHERS, OTHERS)?;
    // What core says of the method.
    let by_core = count(&server.log()?, "pam_authenticate failed");
    ensure(by_core <= logged + OTHERS, || {
        format!("PostgreSQL logged {by_core} failures, {logged} and {OTHERS} of ours")
    })
}

/// What the log says of the password's hash belongs to the refusal, and is left out with it.
pub fn limited_with_md5(rig: &Rig) -> Result<()> {
    let server = rig.server("log-rate-md5", |plan| plan.unset("aadauth.log_rate"))?;
    server.sql(
        "SET password_encryption = md5; CREATE ROLE old LOGIN PASSWORD 'right'; RESET password_encryption",
    )?;
    let began = second()?;
    for _ in 0..ATTEMPTS {
        guess(rig, &server, "old")?;
    }
    let most = RATE * (second()? - began + 1);
    let logged = expect_counted(&server, "password-failed", ATTEMPTS, most)?;
    let hints = count(&server.log()?, "role \"old\" has an MD5 password");
    ensure(hints == logged, || {
        format!("{hints} lines of the hash, {logged} of refusals")
    })
}

/// Tries to sign in as `someone`, and expects the words that any client gets for that reason.
fn refused(rig: &Rig, server: &Server, secret: &str, reason: Reason) -> Result<()> {
    let sign_in = rig.sign_in(server, "someone", secret)?;
    let told = sign_in
        .outcome
        .refusal()
        .map(|refusal| (refusal.message.clone(), refusal.sqlstate.clone()));
    let text = client_text(reason, "someone", Some(AUDIENCE));
    ensure(told == Some((text, sqlstate(reason).to_owned())), || {
        format!("{reason}: {:?}", sign_in.outcome)
    })
}

/// Waits until the log accounts for `attempts` refused for `reason`, by lines of their own and by counts, without any
/// further attempt. Returns how many have lines of their own, which are `most` at most.
pub fn expect_counted(server: &Server, reason: &str, attempts: u64, most: u64) -> Result<u64> {
    let of_reason = format!("that were refused for \"{reason}\"");
    let mut log = String::new();
    let logged = until(&format!("the log has all {reason}"), || {
        log = server.log()?;
        let logged = count(&log, &format!("Reason: {reason}."));
        let mut left_out = 0;
        for line in log.lines().filter(|line| line.contains(&of_reason)) {
            let number = line.split_once("left out the log lines of ");
            let number = number.and_then(|(_, rest)| rest.split(' ').next());
            left_out += number.ok_or("no number")?.parse::<u64>()?;
        }
        ensure(logged + left_out <= attempts, || {
            format!("{logged} logged and {left_out} left out of {attempts}")
        })?;
        Ok((logged + left_out == attempts).then_some(logged))
    })
    .map_err(|error| format!("{error}:\n{log}"))?;
    ensure(logged <= most, || {
        format!("{logged} of {attempts} are logged, not {most}:\n{log}")
    })?;
    Ok(logged)
}

pub fn count(log: &str, text: &str) -> u64 {
    log.lines().filter(|line| line.contains(text)).count() as u64
}

/// Since the Unix epoch.
fn second() -> Result<u64> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())
}
