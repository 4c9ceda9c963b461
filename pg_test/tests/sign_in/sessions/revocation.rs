//! Revoked principals, and what happens to their sessions.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use pg_test::place::{give_to_server, program};
use pg_test::process::{as_postgres, checked};
use pg_test::server::Server;
use pg_test::wait::{until, until_within};
use pg_test::wire::Request;
use pg_test::{Error, Result, pam};

use super::{REVOKED, count, expect_end, expect_rows};
use crate::Test;
use crate::rig::{Rig, SignIn, Subject, ensure};

pub const TESTS: &[Test] = &[
    ("a_revoked_principals_valid_token_is_refused", refused),
    ("a_group_with_all_who_come_through_it", group),
    ("an_application_by_its_application_id", application),
    ("until_its_time_is_over", until_then),
    ("revoked_while_the_client_sits_at_the_prompt", at_the_prompt),
    ("revoked_after_the_token_was_judged", after_the_token),
    ("nobody_slips_through", nobody_slips_through),
    ("the_list_survives_a_restart_and_a_crash", survives),
    ("the_list_is_in_dumps", dumped),
];

const REPORTING: &str = "4e904700-0000-4000-8000-000000000021";

pub fn revoke(object_id: impl std::fmt::Display) -> String {
    format!("SELECT aadauth.revoke('{object_id}')")
}

pub fn restore(object_id: impl std::fmt::Display) -> String {
    format!("SELECT aadauth.restore('{object_id}')")
}

fn refused(rig: &Rig) -> Result<()> {
    let person = rig.person(&rig.server, "laptop_loser")?;
    let other = rig.person(&rig.server, "stayer")?;
    let token = rig.token_of(&person)?;
    let mut session = rig.session(&rig.server, "laptop_loser", &token)?;
    let mut bystander = rig.session(&rig.server, "stayer", &rig.token_of(&other)?)?;
    rig.server.sql(&format!(
        "SELECT aadauth.revoke('{}', reason => 'left the company')",
        person.object_id
    ))?;
    expect_end(&mut session, REVOKED)?;
    rig.refused(&rig.server, "laptop_loser", &token, "revoked")?;
    let listed = rig.server.sql(&format!(
        "SELECT roles, until, reason, revoked_by, revoked_at > now() - interval '1 min'
         FROM aadauth.revocations WHERE object_id = '{}'",
        person.object_id
    ))?;
    ensure(
        listed == "{laptop_loser}|infinity|left the company|postgres|t",
        || listed,
    )?;
    // Nobody else is ended.
    expect_rows(&mut bystander, "SELECT 1", &["1"])?;
    rig.server.sql(&restore(person.object_id))?;
    until("the principal may sign in again", || {
        Ok(rig
            .session(&rig.server, "laptop_loser", &token)
            .ok()
            .map(drop))
    })
}

fn group(rig: &Rig) -> Result<()> {
    let server = rig.server("revoked-group", |plan| plan)?;
    let dba = "dba00000-0000-4000-8000-000000000010";
    rig.map(&server, "dba", dba, "group")?;
    rig.map(
        &server,
        "alice",
        "a11ce000-0000-4000-8000-000000000001",
        "user",
    )?;
    let token = rig.alice()?;
    let mut member = rig.session(&server, "dba", &token)?;
    let mut own = rig.session(&server, "alice", &token)?;
    server.sql(&revoke(dba))?;
    expect_end(&mut member, REVOKED)?;
    rig.refused(&server, "dba", &token, "revoked")?;
    // The own role has nothing to do with the group.
    expect_rows(&mut own, "SELECT 1", &["1"])?;
    rig.accepted(&server, "alice", &token)?;
    // And revoking a member does not affect the others.
    server.sql(&restore(dba))?;
    server.sql(&revoke("a11ce000-0000-4000-8000-000000000001"))?;
    expect_end(&mut own, REVOKED)?;
    rig.refused(&server, "dba", &token, "revoked")?;
    let other = rig
        .user("alice@contoso.com")
        .object_id(uuid::Uuid::new_v4())
        .text()?;
    rig.accepted(&server, "dba", &other)?;
    Ok(())
}

fn application(rig: &Rig) -> Result<()> {
    let server = rig.server("revoked-application", |plan| plan)?;
    rig.map(&server, "reporting", REPORTING, "service")?;
    let token = rig
        .emulator
        .token(Subject::ServicePrincipal("reporting".to_owned()))
        .text()?;
    let mut session = rig.session(&server, "reporting", &token)?;
    let app_id = session
        .query("SELECT (aadauth.current_principal()).app_id")?
        .concat();
    ensure(app_id != REPORTING && !app_id.is_empty(), || app_id.clone())?;
    server.sql(&revoke(&app_id))?;
    expect_end(&mut session, REVOKED)?;
    rig.refused(&server, "reporting", &token, "revoked")?;
    server.sql(&format!("{}; {}", restore(&app_id), revoke(REPORTING)))?;
    until("the other id counts", || {
        Ok(rig
            .refused(&server, "reporting", &token, "revoked")
            .ok()
            .map(drop))
    })
}

fn until_then(rig: &Rig) -> Result<()> {
    let person = rig.person(&rig.server, "suspended")?;
    let token = rig.token_of(&person)?;
    rig.server.sql(&format!(
        "SELECT aadauth.revoke('{}', now() + interval '4 s')",
        person.object_id
    ))?;
    let revoked_at = Instant::now();
    until("the principal is revoked", || {
        let sign_in = rig.sign_in(&rig.server, "suspended", &token)?;
        Ok((!sign_in.outcome.is_in()).then_some(()))
    })?;
    until("the time is over", || {
        Ok(rig.session(&rig.server, "suspended", &token).ok().map(drop))
    })?;
    ensure(revoked_at.elapsed() > Duration::from_secs(3), || {
        format!("let in after {:?}", revoked_at.elapsed())
    })
}

fn at_the_prompt(rig: &Rig) -> Result<()> {
    let person = rig.person(&rig.server, "thinker")?;
    let token = rig.token_of(&person)?;
    let (mut connection, mark) = rig.connect(&rig.server, "thinker")?;
    let request = connection.request()?;
    ensure(request == Request::Password, || format!("{request:?}"))?;
    rig.server.sql(&revoke(person.object_id))?;
    // Once another revoked principal is refused, the list has been loaded.
    until("the revocation counts", || {
        let sign_in = rig.sign_in(&rig.server, "thinker", &token)?;
        Ok((!sign_in.outcome.is_in()).then_some(()))
    })?;
    connection.password(token.as_bytes())?;
    let outcome = connection.outcome()?;
    let sign_in = SignIn {
        request,
        outcome,
        mark,
    };
    rig.expect_refused(&rig.server, "thinker", &sign_in, "revoked")
}

/// Another module of the PAM service holds the sign-in up between the token and the last look.
fn after_the_token(rig: &Rig) -> Result<()> {
    let directory = rig.pam_directory("revoked-late")?;
    let gate = rig.run().for_server("revoked-late-gate")?;
    let (waiting, open_gate) = (gate.join("waiting"), gate.join("open"));
    let script = gate.join("wait");
    fs::write(
        &script,
        format!(
            "#!/bin/sh\ntouch '{}'\nfor i in $(seq 600); do [ -e '{}' ] && exit 0; sleep 0.05; done\nexit 1\n",
            waiting.display(),
            open_gate.display()
        ),
    )?;
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
    give_to_server(&script)?;
    let library = crate::rig::installed_library()?.display().to_string();
    directory.write(
        &pam::service()?,
        &format!(
            "auth required {library}\nauth required pam_exec.so quiet {}\naccount required {library}\n",
            script.display()
        ),
    )?;
    let server = rig.server("revoked-late", |plan| plan.pam(&directory))?;
    let person = rig.person(&server, "someone")?;
    let other = rig.person(&server, "other")?;
    fs::write(&open_gate, "")?;
    let mut session = rig.session(&server, "other", &rig.token_of(&other)?)?;
    fs::remove_file(&open_gate)?;
    fs::remove_file(&waiting)?;
    let (mut connection, mark) = rig.connect(&server, "someone")?;
    let request = connection.request()?;
    connection.password(rig.token_of(&person)?.as_bytes())?;
    until("the token has been judged", || {
        Ok(waiting.exists().then_some(()))
    })?;
    server.sql(&format!(
        "BEGIN; {}; {}; COMMIT",
        revoke(person.object_id),
        revoke(other.object_id)
    ))?;
    // When that one is ended, the list has been loaded.
    expect_end(&mut session, REVOKED)?;
    fs::write(&open_gate, "")?;
    let outcome = connection.outcome()?;
    let sign_in = SignIn {
        request,
        outcome,
        mark,
    };
    rig.expect_refused(&server, "someone", &sign_in, "revoked")
}

/// While they sign in all the time, a principal is revoked again and again: a second later none of their
/// sessions is left.
fn nobody_slips_through(rig: &Rig) -> Result<()> {
    let server = rig.server("slip-through", |plan| plan)?;
    let person = rig.person(&server, "eager")?;
    let token = rig.token_of(&person)?;
    let (done, let_in) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let eager: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| -> Result<()> {
                    let mut open_sessions = Vec::new();
                    while !done.load(Ordering::Relaxed) {
                        if let Ok(session) = rig.session(&server, "eager", &token) {
                            let_in.fetch_add(1, Ordering::Relaxed);
                            open_sessions.push(session);
                        }
                        if open_sessions.len() > 15 {
                            open_sessions.clear();
                        }
                    }
                    Ok(())
                })
            })
            .collect();
        let outcome = (0..15).try_for_each(|round| -> Result<()> {
            let before = let_in.load(Ordering::Relaxed);
            until("they are let in", || {
                Ok((let_in.load(Ordering::Relaxed) > before + 3).then_some(()))
            })?;
            server.sql(&revoke(person.object_id))?;
            let revoked = Instant::now();
            // Those who are being authenticated have no state.
            let left = || {
                server.sql(
                    "SELECT count(*) FROM pg_stat_activity
                     WHERE usename = 'eager' AND state IS NOT NULL",
                )
            };
            until_within(Duration::from_secs(1), "none of them is left", || {
                Ok((left()? == "0" && count(&server, person.object_id)? == 0).then_some(()))
            })
            .map_err(|error| format!("round {round}: {error}"))?;
            while revoked.elapsed() < Duration::from_secs(1) {
                ensure(left()? == "0", || format!("round {round}: one is in"))?;
            }
            server.sql(&restore(person.object_id)).map(drop)
        });
        done.store(true, Ordering::Relaxed);
        for thread in eager {
            thread
                .join()
                .map_err(|_| Error::from("a thread panicked"))??;
        }
        outcome
    })
}

fn survives(rig: &Rig) -> Result<()> {
    let mut server = rig.server("revoked-restart", |plan| plan)?;
    let person = rig.person(&server, "someone")?;
    let token = rig.token_of(&person)?;
    server.sql(&revoke(person.object_id))?;
    server.restart()?;
    rig.await_keys(&server)?;
    rig.refused(&server, "someone", &token, "revoked")?;
    let worker = server
        .child("aadauth session worker")?
        .ok_or("there is no session worker")?;
    server.crash(worker)?;
    rig.await_keys(&server)?;
    rig.refused(&server, "someone", &token, "revoked")
}

fn dumped(rig: &Rig) -> Result<()> {
    let one = rig.server("dumped-one", |plan| plan)?;
    let two = rig.start_plan(rig.plan("dumped-two")?)?;
    let person = rig.person(&one, "someone")?;
    one.sql(&format!(
        "SELECT aadauth.revoke('{}', '2999-01-01', 'why not')",
        person.object_id
    ))?;
    for (name, more) in [
        ("pg_dumpall", "--roles-only"),
        ("pg_dump", "--dbname=postgres"),
    ] {
        restore_dump(rig, &two, &dump(&one, name, more)?)?;
    }
    let listed = two.sql("SELECT object_id, roles, until, reason FROM aadauth.revocations")?;
    ensure(
        listed.starts_with(&format!("{}|{{someone}}|2999-01-01", person.object_id))
            && listed.ends_with("|why not"),
        || listed,
    )?;
    rig.await_keys(&two)?;
    let token = rig.token_of(&person)?;
    // The sessions of sign-ins from before are ended.
    until("the restored list is loaded", || {
        Ok(rig.refused(&two, "someone", &token, "revoked").ok())
    })
}

/// What one of PostgreSQL's programs for dumps writes, without what differs from call to call.
pub fn dump(server: &Server, name: &str, more: &str) -> Result<String> {
    let mut dump = as_postgres(program(name)?)?;
    dump.args(["-U", "postgres", "-h"])
        .arg(server.socket())
        .args(["-p", &server.port().to_string(), more]);
    let text = checked(&mut dump)?;
    // The role postgres is there already, and the key is a random one.
    Ok(text
        .lines()
        .filter(|line| {
            *line != "CREATE ROLE postgres;"
                && !line.starts_with("\\restrict")
                && !line.starts_with("\\unrestrict")
        })
        .map(|line| format!("{line}\n"))
        .collect())
}

/// Expects that psql runs all of it.
pub fn restore_dump(rig: &Rig, server: &Server, text: &str) -> Result<()> {
    let file = rig.run().path().join(format!("{}.sql", server.name()));
    fs::write(&file, text)?;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644))?;
    let mut psql = as_postgres("psql")?;
    psql.args([
        "-XAtq",
        "-v",
        "ON_ERROR_STOP=1",
        "-U",
        "postgres",
        "-d",
        "postgres",
        "-h",
    ])
    .arg(server.socket())
    .args(["-p", &server.port().to_string(), "-f"])
    .arg(&file);
    checked(&mut psql).map(drop)
}
