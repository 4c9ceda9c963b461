//! What changes while the client sits at the prompt counts.

use pg_test::Result;
use pg_test::wire::{Outcome, Request};

use crate::Test;
use crate::rig::{Rig, SignIn, answer, ensure};

pub const TESTS: &[Test] = &[
    ("nothing_changed", |rig| {
        changed(rig, "p_same", "SELECT 1", None)
    }),
    ("label_removed", |rig| {
        changed(
            rig,
            "p_removed",
            "SECURITY LABEL FOR pgaadauth ON ROLE p_removed IS NULL",
            Some("mapping-changed"),
        )
    }),
    ("label_changed", |rig| {
        changed(
            rig,
            "p_changed",
            "SECURITY LABEL FOR pgaadauth ON ROLE p_changed IS
                 'aadauth,oid=e15e0000-0000-4000-8000-0000000000e5,type=user'",
            Some("mapping-changed"),
        )
    }),
    ("admin_flag_added", |rig| {
        changed(
            rig,
            "p_admin",
            "SELECT pgaadauth_update_principal_with_oid(rolname, objectid, 'user', true, false)
             FROM pgaadauth_list_principals(false) WHERE rolname = 'p_admin'",
            Some("mapping-changed"),
        )
    }),
    ("role_renamed", |rig| {
        changed(
            rig,
            "p_renamed",
            "ALTER ROLE p_renamed RENAME TO p_other",
            Some("mapping-changed"),
        )
    }),
    ("role_dropped_and_created_again", |rig| {
        changed(
            rig,
            "p_dropped",
            "DO $$ DECLARE id text := (SELECT objectid FROM pgaadauth_list_principals(false)
                                       WHERE rolname = 'p_dropped');
             BEGIN
                 DROP ROLE p_dropped;
                 PERFORM pgaadauth_create_principal_with_oid('p_dropped', id, 'user', false, false);
             END $$",
            Some("mapping-changed"),
        )
    }),
    ("role_dropped", |rig| {
        changed(rig, "p_gone", "DROP ROLE p_gone", Some("mapping-changed"))
    }),
    ("login_taken_away", |rig| {
        changed(
            rig,
            "p_nologin",
            "ALTER ROLE p_nologin NOLOGIN",
            Some("mapping-changed"),
        )
    }),
    ("local_role_becomes_mapped", local_role_becomes_mapped),
];

/// Connects, makes the change while the server waits for the token, then gives a good token.
fn changed(rig: &Rig, role: &str, change: &str, reason: Option<&str>) -> Result<()> {
    let person = rig.person(&rig.server, role)?;
    let token = rig.token_of(&person)?;
    let (mut connection, mark) = rig.connect(&rig.server, role)?;
    ensure(connection.request()? == Request::Password, || {
        "no prompt".to_owned()
    })?;
    rig.server.sql(change)?;
    connection.password(token.as_bytes())?;
    let outcome = connection.outcome()?;
    let sign_in = SignIn {
        request: Request::Password,
        outcome,
        mark,
    };
    match reason {
        None => ensure(sign_in.outcome.is_in(), || format!("{:?}", sign_in.outcome)),
        Some(reason) => rig.expect_refused(&rig.server, role, &sign_in, reason),
    }
}

fn local_role_becomes_mapped(rig: &Rig) -> Result<()> {
    const ROLE: &str = "p_local";
    rig.server
        .sql("CREATE ROLE p_local LOGIN PASSWORD 'right'")?;
    let sign_in = |label: bool| -> Result<SignIn> {
        let (mut connection, mark) = rig.connect(&rig.server, ROLE)?;
        let request = connection.request()?;
        let outcome = connection.scram(b"right", || {
            if label {
                rig.server.sql(
                    "SECURITY LABEL FOR pgaadauth ON ROLE p_local IS
                         'aadauth,oid=e15e0000-0000-4000-8000-0000000000e2,type=user'",
                )?;
            }
            Ok(())
        })?;
        Ok(SignIn {
            request,
            outcome,
            mark,
        })
    };
    let before = sign_in(false)?;
    ensure(before.outcome == Outcome::In, || {
        format!("{:?}", before.outcome)
    })?;
    let after = sign_in(true)?;
    rig.expect_refused(&rig.server, ROLE, &after, "mapping-changed")?;
    let (connection, mark) = rig.connect(&rig.server, ROLE)?;
    let now = answer(connection, mark, "right")?;
    ensure(now.request == Request::Password, || {
        format!("asked for {:?}", now.request)
    })
}
