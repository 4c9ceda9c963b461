//! Refusals by the hundred: counted, whatever is killed.

use std::net::{Ipv6Addr, TcpListener, TcpStream};

use pg_test::Result;
use pg_test::server::Server;
use pg_test::wait::until;
use pg_test::wire::Connection;
use rustix::process::Signal;

use super::hiding::guess;
use super::ledger::{Ledger, expect_sum};
use crate::rig::{Person, Rig, answer, ensure};

pub fn start(rig: &Rig, name: &str) -> Result<(Server, Person)> {
    let server = rig.server(name, |plan| {
        plan.unset("aadauth.audit_single_refusals")
            .set("aadauth.audit_local_sign_ins", "off")
    })?;
    let person = rig.person(&server, "someone")?;
    Ok((server, person))
}

/// At most five events of their own for each minute that the table knows of.
pub fn expect_few_rows(server: &Server, condition: &str) -> Result<()> {
    let most = server.sql(&format!(
        "SELECT coalesce(max(n), 0) FROM (SELECT count(*) AS n FROM aadauth.sign_in_audit
         WHERE {condition} AND count = 1 AND application_name <> ''
         GROUP BY date_trunc('minute', occurred_at), role, reason) AS t"
    ))?;
    ensure((1..=5).contains(&most.parse::<u64>()?), || {
        format!("{most} rows in a minute where {condition}")
    })
}

pub fn counted(rig: &Rig) -> Result<()> {
    let (server, person) = start(rig, "flood")?;
    let seen = Ledger::default();
    seen.sign_in_often(rig, &server, "someone", &["no token"; 4], 50)?;
    let malformed = "reason = 'token-malformed' AND role = 'someone'";
    expect_sum(&server, malformed, 200)?;
    expect_few_rows(&server, malformed)?;
    let counts = format!("{malformed} AND count > 1");
    let described = server.sql(&format!(
        "SELECT DISTINCT outcome, method, host(client_address), client_port, application_name
         FROM aadauth.sign_in_audit WHERE {counts}"
    ))?;
    ensure(described == "refused|entra-token|127.0.0.1||", || {
        described.clone()
    })?;
    // Who is let in always gets a row each.
    let token = rig.token_of(&person)?;
    let known = Ledger::default();
    known.sign_in_often(rig, &server, "someone", &[token.as_str(); 2], 15)?;
    known.expect_each(&server)
}

/// Also where they are counted, and where one of them exists.
pub fn look_alikes(rig: &Rig) -> Result<()> {
    const TIMES: u64 = 8;
    const NAMES: [(&str, &str); 4] = [
        ("someone", "someone"),
        ("some\u{200B}one", r"some\u200Bone"),
        (r"some\u200Bone", r"some\x5Cu200Bone"),
        ("some\u{202E}one", r"some\u202Eone"),
    ];
    let (server, _) = start(rig, "look-alikes")?;
    let real = rig.person(&server, "some\u{200B}one")?;
    for _ in 0..TIMES {
        for (name, _) in NAMES {
            guess(rig, &server, name)?;
        }
    }
    for (_, recorded) in NAMES {
        expect_sum(&server, &format!("role = '{recorded}'"), TIMES)?;
    }
    let sign_in = rig.accepted(&server, &real.role, &rig.token_of(&real)?)?;
    let event = rig.event(&server, &sign_in.mark)?;
    ensure(event["role"] == r"some\u200Bone", || event.to_string())?;
    let found = server.sql(
        r"SELECT count(*) FROM aadauth.sign_ins WHERE role = 'some\u200Bone' AND outcome = 'authenticated'",
    )?;
    ensure(found == "1", || format!("{found} sign-ins"))?;
    let explained = server.sql(&format!(
        "SELECT explanation FROM aadauth.explain_sign_in({})",
        event["event_id"].to_string().replace('"', "'")
    ))?;
    ensure(explained.contains(r#"role "some\u200Bone""#), || explained)?;
    for what in ["connection authorized", "session ended"] {
        let line = until("the log has it", || {
            let log = server.log()?;
            let said = format!("Microsoft Entra ID {what}");
            let line = log.lines().find(|line| line.contains(&said));
            Ok(line.map(str::to_owned))
        })?;
        ensure(line.contains(r#"role="some\u200Bone""#), || line)?;
    }
    Ok(())
}

pub fn killed(rig: &Rig) -> Result<()> {
    let (mut server, _) = start(rig, "flood-killed")?;
    let malformed = "reason = 'token-malformed' AND role = 'someone'";
    let seen = Ledger::default();
    let mut expected = 0;
    // A backend, the worker, the whole server.
    for round in 0..3 {
        seen.sign_in_often(rig, &server, "someone", &["no token"; 2], 30)?;
        expected += 60;
        match round {
            0 => {
                let victim = server.child("audit worker")?.ok_or("no audit worker")?;
                server.crash(victim)?;
            }
            1 => {
                let (mut waiting, _) = rig.connect(&server, "someone")?;
                waiting.request()?;
                let victim = until("the client has a backend", || {
                    server.child("authentication")
                })?;
                server.crash(victim)?;
            }
            _ => {
                server.stop_with(Signal::KILL)?;
                // Its children notice, and then its memory is free.
                until("the server starts again", || Ok(server.start().ok()))?;
            }
        }
        rig.await_keys(&server)?;
    }
    seen.sign_in_often(rig, &server, "someone", &["no token"; 2], 30)?;
    expected += 60;
    ensure(seen.count(false)? == expected, || {
        "not all were refused".to_owned()
    })?;
    expect_sum(&server, malformed, expected)?;
    server.restart()?;
    rig.await_keys(&server)?;
    seen.sign_in_often(rig, &server, "someone", &["no token"], 20)?;
    expect_sum(&server, malformed, expected + 20)
}

/// Whether the machine has an address of IPv6 that clients can come from.
pub fn has_ipv6() -> bool {
    TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok()
}

/// An address of IPv6 counts as its network; those that are recorded one by one keep it.
pub fn by_network(rig: &Rig) -> Result<()> {
    // More than twice as many as are recorded one by one, should a minute end meanwhile.
    const ATTEMPTS: u64 = 12;
    let server = rig.server("flood-network", |plan| {
        plan.unset("aadauth.audit_single_refusals")
            .set("listen_addresses", "127.0.0.1, ::1")
    })?;
    rig.person(&server, "someone")?;
    let parameters = [("user", "someone"), ("application_name", "from ::1")];
    for _ in 0..ATTEMPTS {
        let socket = TcpStream::connect((Ipv6Addr::LOCALHOST, server.port()))?;
        let connection = Connection::over_tcp(socket, Some(&rig.tls), &parameters)?;
        let sign_in = answer(connection, String::new(), "no token")?;
        ensure(sign_in.outcome.refusal().is_some(), || {
            format!("{:?}", sign_in.outcome)
        })?;
    }
    let attempts = "reason = 'token-malformed' AND client_address <<= '::/64'";
    expect_sum(&server, attempts, ATTEMPTS)?;
    let addresses = server.sql(&format!(
        "SELECT DISTINCT application_name IS NULL, client_address FROM aadauth.sign_in_audit
         WHERE {attempts} ORDER BY 1"
    ))?;
    ensure(addresses == "f|::1\nt|::/64", || addresses)?;
    let explained = server.sql(&format!(
        "SELECT explanation LIKE '%\nfrom ::/64\n%' FROM aadauth.explain_sign_in((
             SELECT event_id FROM aadauth.sign_in_audit
             WHERE {attempts} AND application_name IS NULL LIMIT 1)) LIMIT 1"
    ))?;
    ensure(explained == "t", || explained)
}
