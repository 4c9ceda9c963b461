//! The PAM route: what it costs, and bad clients on it.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use pg_test::Result;
use pg_test::compiler::shared_library;
use pg_test::pam::service;
use pg_test::place::{pg_config, source, target};
use pg_test::process::checked;
use pg_test::wire::{Connection, Outcome, Request};

use crate::Test;
use crate::rig::{Rig, SignIn, ensure};

pub const TESTS: &[Test] = &[
    ("a_sign_in_opens_no_shared_library", opens_no_library),
    ("two_hundred_sign_ins_at_once", parallel),
    ("a_query_in_place_of_a_token", |rig| {
        instead(rig, b'Q', b"SELECT 1\0")
    }),
    ("a_terminate_in_place_of_a_token", |rig| {
        instead(rig, b'X', b"")
    }),
    ("an_empty_token", |rig| instead(rig, b'p', b"\0")),
    ("a_token_with_a_zero_byte_in_it", zero_byte),
    ("a_token_that_pasting_has_spoiled", spoiled),
    ("a_token_sent_before_it_is_asked_for", sent_early),
    ("a_message_of_any_length", lengths),
    ("half_a_message", half_a_message),
    ("its_entry_points_in_a_session", in_a_session),
    (
        "make_install_keeps_a_changed_service_file_beside",
        changed_service_file,
    ),
];

/// A session that calls the module's entry points gets the error that there is nobody to authenticate.
fn in_a_session(rig: &Rig) -> Result<()> {
    let library = rig.run().path().join("caller.so");
    shared_library("pam/caller.c", &library, &[])?;
    let server = rig.server("pam-called", |plan| plan)?;
    server.sql(&format!(
        "CREATE FUNCTION call_pam(text) RETURNS int AS '{}', 'call_pam' LANGUAGE c STRICT",
        library.display()
    ))?;
    let person = rig.person(&server, "someone")?;
    let attempt = rig.attempt(&server, "someone", &rig.token_of(&person)?);
    // In this order: one that asks would wait for an answer.
    for entry in ["pam_sm_acct_mgmt", "pam_sm_authenticate"] {
        let printed = attempt.psql("", &format!("SELECT call_pam('{entry}')"))?;
        // PAM_AUTHINFO_UNAVAIL
        ensure(printed.success && printed.output == "9", || {
            format!("{entry}: {printed:?}")
        })?;
    }
    Ok(())
}

/// Libraries that a process has mapped.
fn libraries(process: u32) -> Result<BTreeSet<String>> {
    Ok(fs::read_to_string(format!("/proc/{process}/maps"))?
        .lines()
        .filter_map(|line| line.split_whitespace().nth(5))
        .filter(|path| path.contains(".so"))
        .map(str::to_owned)
        .collect())
}

fn opens_no_library(rig: &Rig) -> Result<()> {
    let server = rig.server("maps", |plan| plan)?;
    let person = rig.person(&server, "someone")?;
    let token = rig.token_of(&person)?;
    let (mut connection, _) = rig.connect(&server, "someone")?;
    ensure(connection.request()? == Request::Password, || {
        "no prompt".to_owned()
    })?;
    // libpam is in the middle of its work now: whatever it opened is mapped.
    let postmaster = server.postmaster()?;
    let backend = server
        .child("someone postgres")?
        .ok_or("the backend was not found")?;
    let at_the_prompt = libraries(backend)?;
    ensure(
        at_the_prompt.iter().any(|path| path.contains("libpam.so")),
        || "no libpam".to_owned(),
    )?;
    let of_the_postmaster = libraries(postmaster)?;
    let opened: Vec<_> = at_the_prompt.difference(&of_the_postmaster).collect();
    ensure(opened.is_empty(), || {
        format!("opened for the sign-in: {opened:?}")
    })?;
    connection.password(token.as_bytes())?;
    ensure(connection.outcome()?.is_in(), || "not let in".to_owned())
}

fn parallel(rig: &Rig) -> Result<()> {
    let server = rig.server("parallel", |plan| plan.set("max_connections", "250"))?;
    let person = rig.person(&server, "someone")?;
    let good = rig.token_of(&person)?;
    let bad = rig.user("mallory@contoso.com").text()?;
    let postmaster = server.postmaster()?;
    std::thread::scope(|scope| -> Result<()> {
        let threads: Vec<_> = (0..200)
            .map(|index| {
                let token = if index % 2 == 0 { &good } else { &bad };
                let server = &server;
                scope.spawn(move || -> Result<()> {
                    let sign_in = rig.sign_in(server, "someone", token)?;
                    ensure(sign_in.outcome.is_in() == (index % 2 == 0), || {
                        format!("{:?}", sign_in.outcome)
                    })
                })
            })
            .collect();
        for thread in threads {
            thread
                .join()
                .map_err(|_| pg_test::Error::from("a thread panicked"))??;
        }
        Ok(())
    })?;
    ensure(
        server.postmaster()? == postmaster && server.sql_in_new_session("SELECT 1")? == "1",
        || "crashed".to_owned(),
    )
}

/// Connects, waits for the prompt, sends something else; that's an unusable token, and the server
/// goes on.
fn instead(rig: &Rig, kind: u8, body: &[u8]) -> Result<()> {
    refused_at_the_prompt(rig, "token-malformed", |connection| {
        connection.send(Some(kind), body)
    })?;
    goes_on(rig)
}

/// Connects, waits for the prompt and does as `answer` does; expects to be refused for `reason`, at
/// the client and in the audit.
fn refused_at_the_prompt(
    rig: &Rig,
    reason: &str,
    answer: impl FnOnce(&mut Connection) -> Result<()>,
) -> Result<()> {
    const ROLE: &str = "alice@contoso.com";
    let (mut connection, mark) = rig.connect(&rig.server, ROLE)?;
    let request = connection.request()?;
    ensure(request == Request::Password, || "no prompt".to_owned())?;
    answer(&mut connection)?;
    let outcome = connection.outcome()?;
    let sign_in = SignIn {
        request,
        outcome,
        mark,
    };
    rig.expect_refused(&rig.server, ROLE, &sign_in, reason)
}

fn goes_on(rig: &Rig) -> Result<()> {
    rig.accepted(&rig.server, "alice@contoso.com", &rig.alice()?)
        .map(drop)
}

fn zero_byte(rig: &Rig) -> Result<()> {
    let token = format!("{}\0x", rig.alice()?);
    rig.refused(&rig.server, "alice@contoso.com", &token, "token-malformed")
}

/// The ways in which a token is spoiled most often: quotes left around it, the end of a line of Windows, and a terminal that
/// cuts what is pasted.
fn spoiled(rig: &Rig) -> Result<()> {
    const ALICE: &str = "alice@contoso.com";
    const PASTED: usize = 4095;
    let token = rig.user(ALICE).size(4_600).text()?;
    rig.accepted(&rig.server, ALICE, &token)?;
    let cut = token.get(..PASTED).ok_or("the token is too short")?;
    for spoiled in [&format!("\"{token}\""), &format!("{token}\r"), cut] {
        let sign_in = rig.sign_in(&rig.server, ALICE, spoiled)?;
        rig.expect_refused(&rig.server, ALICE, &sign_in, "token-malformed")?;
        let refusal = sign_in.outcome.refusal().ok_or("not refused")?;
        ensure(
            refusal
                .message
                .starts_with("The access token has invalid format."),
            || refusal.message.clone(),
        )?;
    }
    Ok(())
}

fn sent_early(rig: &Rig) -> Result<()> {
    let (mut connection, _) = rig.connect(&rig.server, "alice@contoso.com")?;
    let mut token = rig.alice()?.into_bytes();
    token.push(0);
    connection.send(Some(b'p'), &token)?;
    // Whether it reads as an answer or as a breach of protocol depends on when it arrives; nothing
    // else may come of it, and nothing may be left over for the session to stumble on.
    match connection.outcome()? {
        Outcome::In => ensure(connection.query("SELECT 1")? == ["1"], || {
            "out of step".to_owned()
        })?,
        Outcome::Refused(_) | Outcome::Closed => {}
    }
    goes_on(rig)
}

/// A length counts itself. Up to the 65535 bytes that PostgreSQL takes for a password (auth.c,
/// PG_MAX_AUTH_TOKEN_LENGTH), what is announced is read before it is refused; beyond, it need not
/// even be sent.
fn lengths(rig: &Rig) -> Result<()> {
    const LARGEST_READ: u32 = 4 + 65_535;
    for (length, reason) in [
        (0, "token-malformed"),
        (3, "token-malformed"),
        (4, "token-malformed"),
        (LARGEST_READ, "token-too-large"),
        (LARGEST_READ + 1, "token-too-large"),
        (1 << 20, "token-too-large"),
        (1 << 31, "token-too-large"),
        (u32::MAX, "token-too-large"),
    ] {
        let mut bytes = vec![b'p'];
        bytes.extend_from_slice(&length.to_be_bytes());
        if length == LARGEST_READ {
            bytes.resize(1 + usize::try_from(length)?, b'x');
        }
        refused_at_the_prompt(rig, reason, |connection| connection.send_raw(&bytes))
            .map_err(|error| format!("length {length}: {error}"))?;
    }
    goes_on(rig)
}

fn half_a_message(rig: &Rig) -> Result<()> {
    for part in [&b"p"[..], &b"p\0\0"[..], &b"p\0\0\0\x20eyJ"[..]] {
        let (mut connection, mark) = rig.connect(&rig.server, "alice@contoso.com")?;
        ensure(connection.request()? == Request::Password, || {
            "no prompt".to_owned()
        })?;
        connection.send_raw(part)?;
        drop(connection);
        let event = rig.event(&rig.server, &mark)?;
        ensure(event["outcome"] != "authenticated", || event.to_string())?;
    }
    goes_on(rig)
}

fn changed_service_file(rig: &Rig) -> Result<()> {
    let root = rig.run().path().join("install-root");
    let install = || {
        checked(
            Command::new("make")
                .args(["-s", "-C"])
                .arg(source())
                .arg("install")
                .arg(format!("PG_CONFIG={}", pg_config().display()))
                .arg(format!("DESTDIR={}", root.display()))
                .env("CARGO_TARGET_DIR", target()),
        )
    };
    install()?;
    let services = root.join("etc/pam.d");
    let file = services.join(service()?);
    let fresh = fs::read_to_string(&file)?;
    ensure(fresh.lines().count() == 4, || fresh.clone())?;
    let changed = format!("{fresh}account required pam_time.so\n");
    fs::write(&file, &changed)?;
    let said = install()?;
    ensure(fs::read_to_string(&file)? == fresh, || {
        "not replaced".to_owned()
    })?;
    let kept = format!("{}.old", service()?);
    let old = services.join(&kept);
    ensure(fs::read_to_string(&old)? == changed, || {
        "not kept".to_owned()
    })?;
    ensure(said.contains(&kept), || said.clone())?;
    // Another installation finds nothing to do, and what was kept stays.
    install()?;
    ensure(fs::read_to_string(&old)? == changed, || {
        "what was kept is gone".to_owned()
    })?;
    ensure(fs::read_dir(&services)?.count() == 2, || {
        "something else was left there".to_owned()
    })
}
