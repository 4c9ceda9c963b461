//! No token is accepted before the revocations are loaded.

use std::time::{Duration, Instant};

use pg_test::Result;
use pg_test::wait::until;

use super::{REVOKED, expect_end, expect_rows};
use crate::Test;
use crate::rig::{Rig, ensure};

pub const TESTS: &[Test] = &[
    ("closed_until_the_list_is_loaded", closed),
    ("a_list_that_was_loaded_stays_in_force", stays),
    ("without_the_extension_nobody_is_revoked", without_extension),
    (
        "a_list_that_is_elsewhere_is_missed_after_a_restart",
        elsewhere,
    ),
    ("what_somebody_else_owns_is_not_read", not_owned),
];

fn closed(rig: &Rig) -> Result<()> {
    let mut server = rig.server("closed", |plan| {
        plan.set("aadauth.database", "not_there_yet")
    })?;
    let person = rig.person(&server, "someone")?;
    let token = rig.token_of(&person)?;
    server.sql("CREATE ROLE password_role LOGIN PASSWORD 'right'")?;
    // Refused without being asked for the token, after two seconds at most.
    let started = Instant::now();
    let sign_in = rig.sign_in(&server, "someone", &token)?;
    let took = started.elapsed();
    ensure(sign_in.request != pg_test::wire::Request::Password, || {
        "the token was asked for".to_owned()
    })?;
    ensure(took < Duration::from_secs(4), || {
        format!("it took {took:?}")
    })?;
    server.wait_for_log(0, "revocations-unavailable")?;
    // Passwords have nothing to do with it.
    let (mut connection, _) = rig.connect(&server, "password_role")?;
    connection.request()?;
    ensure(connection.scram(b"right", || Ok(()))?.is_in(), || {
        "a local role was refused".to_owned()
    })?;
    server.wait_for_log(
        0,
        "could not connect to database \"not_there_yet\" to record sign-ins",
    )?;
    server.configure(&[("aadauth.database", None)])?;
    rig.expect_refused(&server, "someone", &sign_in, "revocations-unavailable")?;
    until("it opens", || {
        Ok(rig.session(&server, "someone", &token).ok().map(drop))
    })
}

fn stays(rig: &Rig) -> Result<()> {
    let mut server = rig.server("list-stays", |plan| plan)?;
    let out = rig.person(&server, "revoked")?;
    let person = rig.person(&server, "someone")?;
    let mut session = rig.session(&server, "revoked", &rig.token_of(&out)?)?;
    server.sql(&format!("SELECT aadauth.revoke('{}')", out.object_id))?;
    expect_end(&mut session, REVOKED)?;
    let check = |server: &pg_test::server::Server, what: &str| -> Result<()> {
        let sign_in = rig.sign_in(server, "revoked", &rig.token_of(&out)?)?;
        ensure(!sign_in.outcome.is_in(), || {
            format!("{what}: the revoked one got in")
        })?;
        rig.session(server, "someone", &rig.token_of(&person)?)
            .map(drop)
            .map_err(|error| format!("{what}: {error}").into())
    };
    server.configure(&[("aadauth.database", Some("nowhere"))])?;
    server.wait_for_log(
        0,
        "could not connect to database \"nowhere\" to read the revocations",
    )?;
    check(&server, "no database")?;
    server.sql("CREATE DATABASE empty")?;
    server.configure(&[("aadauth.database", Some("empty"))])?;
    server.wait_for_log(
        0,
        "revocations are not read: extension aadauth is not installed",
    )?;
    check(&server, "no extension")?;
    server.configure(&[("aadauth.database", None)])?;
    server.wait_for_log(0, "revocations are read from database \"postgres\"")?;
    check(&server, "back again")
}

fn without_extension(rig: &Rig) -> Result<()> {
    let server = rig.start_plan(rig.plan("no-list")?)?;
    // A label needs only the library.
    server.sql(
        "CREATE ROLE someone LOGIN;
         SECURITY LABEL FOR pgaadauth ON ROLE someone IS
             'aadauth,oid=a11ce000-0000-4000-8000-000000000001,type=user'",
    )?;
    let token = rig.alice()?;
    until("the keys are there and nobody is revoked", || {
        Ok(rig.session(&server, "someone", &token).ok().map(drop))
    })
}

/// As when the audit is moved, or `aadauth.database` was set too early.
fn elsewhere(rig: &Rig) -> Result<()> {
    let mut server = rig.server("list-elsewhere", |plan| plan)?;
    let out = rig.person(&server, "revoked")?;
    let person = rig.person(&server, "someone")?;
    let (out, token) = (out.object_id, rig.token_of(&person)?);
    server.sql(&format!("SELECT aadauth.revoke('{out}')"))?;
    server.sql("CREATE DATABASE bare")?;
    server.sql("CREATE DATABASE early")?;
    server.sql_in("early", "CREATE EXTENSION aadauth")?;
    for database in ["bare", "early"] {
        server.configure(&[("aadauth.database", Some(database))])?;
        server.restart()?;
        rig.await_keys(&server)?;
        let mark = server.log_length()?;
        let sign_in = rig.sign_in(&server, "someone", &token)?;
        ensure(!sign_in.outcome.is_in(), || "let in".to_owned())?;
        server.wait_for_log(mark, "revocations-unavailable")?;
        let found =
            server.sql("SELECT string_agg(code, ' ') FROM aadauth.check_configuration()")?;
        ensure(found.contains("revocations-not-loaded"), || found)?;
    }
    server.configure(&[("aadauth.database", None)])?;
    until("it opens", || {
        Ok(rig.session(&server, "someone", &token).ok().map(drop))
    })?;
    // Once nobody is revoked, there is nothing to miss.
    server.sql(&format!("SELECT aadauth.restore('{out}')"))?;
    server.configure(&[("aadauth.database", Some("bare"))])?;
    server.restart()?;
    rig.await_keys(&server)?;
    until("nothing is missed", || {
        Ok(rig.session(&server, "someone", &token).ok().map(drop))
    })
}

/// The owner of a table can have those who read it run the owner's code.
fn not_owned(rig: &Rig) -> Result<()> {
    let mut server = rig.server("list-not-owned", |plan| plan)?;
    let person = rig.person(&server, "someone")?;
    let token = rig.token_of(&person)?;
    let mut session = rig.session(&server, "someone", &token)?;
    server.sql(
        "CREATE ROLE thief; ALTER TABLE aadauth.revoked_principals OWNER TO thief;
         CREATE TABLE public.stolen (who name);
         CREATE FUNCTION public.steal() RETURNS boolean LANGUAGE plpgsql AS $$
             BEGIN
                 INSERT INTO public.stolen VALUES (current_user);
                 RETURN true;
             END $$;
         GRANT ALL ON public.stolen TO PUBLIC",
    )?;
    let revoke = format!("SELECT aadauth.revoke('{}')", person.object_id);
    let refused = server.sql(&revoke).err().map(|error| error.to_string());
    ensure(
        refused.is_some_and(|text| text.contains("not owned by a superuser")),
        || "written to somebody's table".to_owned(),
    )?;
    server.wait_for_log(0, "revocations are not read: ")?;
    // The list stays what it was.
    expect_rows(&mut session, "SELECT 1", &["1"])?;
    rig.accepted(&server, "someone", &token)?;
    // Where no list was loaded, nobody gets in.
    server.restart()?;
    rig.await_keys(&server)?;
    rig.refused(&server, "someone", &token, "revocations-unavailable")?;
    server.sql("ALTER TABLE aadauth.revoked_principals OWNER TO postgres")?;
    until("it opens", || {
        Ok(rig.session(&server, "someone", &token).ok().map(drop))
    })
}
