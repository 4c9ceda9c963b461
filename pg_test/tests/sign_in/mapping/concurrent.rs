//! Sessions that change roles at the same time.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use pg_test::Result;
use pg_test::wait::until;

use super::privileged::{PROGRAMS, is_15, take};
use super::{ALICE, BOB, DENIED, Session, public, signed_in, start, update};
use crate::Test;
use crate::rig::Rig;

pub const TESTS: &[Test] = &[
    ("a_swap_of_names_hits_no_other_role", swapped_names),
    ("a_held_lock_is_named", held_lock),
    ("an_open_grant_is_waited_for", open_grant),
    (
        "a_grant_waits_for_what_makes_the_role_privileged",
        waiting_grant,
    ),
];

/// A role manager who swaps the names of two roles while a superuser appoints one of them.
fn swapped_names(rig: &Rig) -> Result<()> {
    const ROUNDS: usize = 200;
    let (server, mut superuser) = start(rig, "swapped")?;
    superuser.run("CREATE ROLE x; CREATE ROLE y; CREATE ROLE clerk CREATEROLE")?;
    if !is_15()? {
        superuser.run("GRANT x, y TO clerk WITH ADMIN OPTION")?;
    }
    let (stop, swaps) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        let swapper = scope.spawn(|| -> Result<()> {
            let mut clerk = Session(server.superuser()?);
            clerk.run("SET SESSION AUTHORIZATION clerk")?;
            let swap =
                "ALTER ROLE x RENAME TO z; ALTER ROLE y RENAME TO x; ALTER ROLE z RENAME TO y";
            while !stop.load(Ordering::Relaxed) {
                // Refused on 15 while the role is an admin.
                let swapped = clerk.0.execute(swap)?.is_ok();
                swaps.fetch_add(usize::from(swapped), Ordering::Relaxed);
            }
            Ok(())
        });
        let outcome = (0..ROUNDS).try_for_each(|_| {
            let before = swaps.load(Ordering::Relaxed);
            appoint_and_dismiss(&mut superuser)?;
            until("the names are swapped again", || {
                Ok((swaps.load(Ordering::Relaxed) > before).then_some(()))
            })
        });
        stop.store(true, Ordering::Relaxed);
        swapper.join().map_err(|_| "the other session panicked")??;
        outcome
    })
}

/// Whichever role has the name `x` now; a role's label and its rights always agree.
fn appoint_and_dismiss(superuser: &mut Session) -> Result<()> {
    // The role that had the name x when the first was called may be y now; the others fail, as the principal is taken.
    for (role, admin) in [("x", true), ("x", false), ("y", false)] {
        let _ = superuser
            .0
            .execute(&update(role, ALICE, "user", admin, false))?;
        superuser.expect(
            "SELECT count(*) FROM pg_roles AS r WHERE rolname IN ('x', 'y', 'z') AND (
                 rolcreaterole <> coalesce((SELECT label LIKE '%,admin' FROM pg_shseclabel
                     WHERE objoid = r.oid AND provider = 'pgaadauth-int'), false)
                 OR rolcreaterole <> EXISTS (SELECT FROM pg_auth_members
                     WHERE member = r.oid AND roleid = 'azure_pg_admin'::regrole))",
            "0",
        )?;
    }
    Ok(())
}

fn held_lock(rig: &Rig) -> Result<()> {
    let server = rig.server("mapping-held-lock", |plan| {
        plan.set("max_prepared_transactions", "1")
    })?;
    let mut superuser = Session(server.superuser()?);
    superuser.run("CREATE ROLE r; CREATE ROLE s")?;
    let mut holder = Session(server.superuser()?);
    let pid = holder.0.query("SELECT pg_backend_pid()")?.concat();
    holder.run("BEGIN")?;
    holder.run(&public("r", &format!("aadauth,oid={ALICE},type=user")))?;
    let change = public("s", &format!("aadauth,oid={BOB},type=user"));
    let failure = superuser.refused(&change, "55P03")?;
    failure.expect_in_hint(&format!("pg_terminate_backend({pid})"))?;
    holder.run("PREPARE TRANSACTION 'it''s prepared'")?;
    let failure = superuser.refused(&change, "55P03")?;
    failure.expect_in_hint("ROLLBACK PREPARED 'it''s prepared'")?;
    holder.run("ROLLBACK PREPARED 'it''s prepared'")?;
    superuser.run(&change)
}

/// An admin's open or prepared transaction cannot keep a membership that nobody sees.
fn open_grant(rig: &Rig) -> Result<()> {
    let server = rig.server("mapping-open-grant", |plan| {
        plan.set("max_prepared_transactions", "1")
    })?;
    let mut superuser = Session(server.superuser()?);
    superuser.make_admin()?;
    let mut admin = signed_in(rig, &server)?;
    let pid = admin.0.query("SELECT pg_backend_pid()")?.concat();
    for makes_privileged in [PROGRAMS, "ALTER ROLE r SUPERUSER", "ALTER ROLE r BYPASSRLS"] {
        admin.run("CREATE ROLE r")?;
        admin.run(&format!("BEGIN; {}", take("r")?))?;
        let failure = superuser.refused(makes_privileged, "55P03")?;
        failure.expect_detail(&format!("process ID {pid}"))?;
        admin.run("COMMIT")?;
        superuser.run(makes_privileged)?;
        superuser.expect(
            "SELECT count(*) FROM pg_auth_members
             WHERE roleid = 'r'::regrole AND member = 'root_admin'::regrole",
            "0",
        )?;
        superuser.run("DROP ROLE r")?;
    }
    admin.run("CREATE ROLE r")?;
    admin.run(&format!(
        "BEGIN; {}; PREPARE TRANSACTION 'kept'",
        take("r")?
    ))?;
    superuser
        .refused(PROGRAMS, "55P03")?
        .expect_detail("prepared transaction \"kept\"")?;
    admin.run("COMMIT PREPARED 'kept'")?;
    admin.run("REVOKE r FROM CURRENT_USER")?;
    // A snapshot that is older than the membership.
    superuser.run("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM pg_auth_members")?;
    admin.run(&take("r")?)?;
    superuser.run(&format!("{PROGRAMS}; COMMIT"))?;
    superuser.expect(
        "SELECT count(*) FROM pg_auth_members
         WHERE roleid = 'r'::regrole AND member = 'root_admin'::regrole",
        "0",
    )
}

/// The reverse order, and the same for a label.
fn waiting_grant(rig: &Rig) -> Result<()> {
    let (server, mut superuser) = start(rig, "waiting-grant")?;
    superuser.make_admin()?;
    let mut admin = signed_in(rig, &server)?;
    let pid = admin.0.query("SELECT pg_backend_pid()")?.concat();
    let label = public("r", &format!("aadauth,oid={ALICE},type=user,admin"));
    for makes_privileged in [PROGRAMS, "ALTER ROLE r SUPERUSER", &label] {
        admin.run("CREATE ROLE r LOGIN")?;
        superuser.run(&format!("BEGIN; {makes_privileged}"))?;
        thread::scope(|scope| -> Result<()> {
            let grant = scope.spawn(|| admin.refused(&take("r")?, DENIED).map(drop));
            let query = format!(
                "SELECT count(*) FROM pg_stat_activity WHERE pid = {pid} AND wait_event_type = 'Lock'"
            );
            let waits = until("the admin waits", || {
                Ok((server.sql(&query)? == "1").then_some(()))
            });
            superuser.run("COMMIT")?;
            waits?;
            grant.join().map_err(|_| "the admin panicked")?
        })?;
        superuser.run("DROP ROLE r")?;
    }
    Ok(())
}
