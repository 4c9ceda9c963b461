//! Revocations and sessions on a hot standby.

use std::time::{Duration, Instant};

use pg_test::Result;
use pg_test::wait::until;

use super::{EXPIRED, REVOKED, await_count, expect_end, expect_rows};
use crate::Test;
use crate::rig::{OUR_LINES, Rig, ensure};

pub const TESTS: &[Test] = &[("a_standby_follows", follows)];

fn follows(rig: &Rig) -> Result<()> {
    let [ours, of_replication] = OUR_LINES;
    let lines = ["local replication postgres peer", ours, of_replication];
    let primary = rig.server("revoking-primary", |plan| plan.hba(&lines))?;
    let revoked = rig.person(&primary, "revoked")?;
    let one = rig.person(&primary, "one")?;
    let two = rig.person(&primary, "two")?;
    primary.sql(&format!("SELECT aadauth.revoke('{}')", revoked.object_id))?;
    let plan = rig.plan("revoking-standby")?;
    let mut standby = plan.start_standby(rig.run(), &primary)?;
    rig.await_keys(&standby)?;
    let caught_up = || -> Result<()> {
        let position = primary.sql("SELECT pg_current_wal_flush_lsn()")?;
        until("the standby has caught up", || {
            let query = format!("SELECT pg_last_wal_replay_lsn() >= '{position}'");
            Ok((standby.sql(&query)? == "t").then_some(()))
        })
    };
    // What was revoked before the standby was made.
    let words = rig.sign_in(&standby, "revoked", &rig.token_of(&revoked)?)?;
    let words = words.outcome.refusal().map(|words| words.message.clone());
    ensure(words.is_some_and(|words| words.contains("revoked")), || {
        "a revoked principal was let in".to_owned()
    })?;
    // What is revoked while it follows.
    let token = rig.token_of(&one)?;
    let mut session = rig.session(&standby, "one", &token)?;
    let mut other = rig.session(&standby, "two", &rig.token_of(&two)?)?;
    expect_rows(
        &mut session,
        "SELECT principal FROM aadauth.sessions",
        &["alice@contoso.com"],
    )?;
    let revoked_at = Instant::now();
    primary.sql(&format!("SELECT aadauth.revoke('{}')", one.object_id))?;
    expect_end(&mut session, REVOKED)?;
    let after = revoked_at.elapsed();
    println!(
        "a session on a standby ended {after:.1?} after aadauth.revoke was called on the primary"
    );
    ensure(after < Duration::from_secs(5), || {
        format!("it took {after:?}")
    })?;
    ensure(
        !rig.sign_in(&standby, "one", &token)?.outcome.is_in(),
        || "a revoked principal was let in".to_owned(),
    )?;
    expect_rows(&mut other, "SELECT 1", &["1"])?;
    // Nothing is revoked there.
    let refused = standby
        .sql(&format!("SELECT aadauth.revoke('{}')", two.object_id))
        .err()
        .map(|error| error.to_string());
    ensure(
        refused.is_some_and(|text| text.contains("during recovery")),
        || "revoked on a standby".to_owned(),
    )?;
    // And what is restored.
    primary.sql(&format!("SELECT aadauth.restore('{}')", one.object_id))?;
    caught_up()?;
    until("the principal may sign in again", || {
        Ok(rig.session(&standby, "one", &token).ok().map(drop))
    })?;
    // Promoted, the same worker goes on, and functions work at once.
    standby.sql("SELECT pg_promote()")?;
    let mut session = rig.session(&standby, "one", &token)?;
    standby.sql(&format!("SELECT aadauth.revoke('{}')", one.object_id))?;
    expect_end(&mut session, REVOKED)?;
    await_count(&standby, one.object_id, 0)?;
    standby.configure(&[
        ("aadauth.session_expiry", Some("token")),
        ("aadauth.clock_skew", Some("0")),
    ])?;
    let short = rig
        .user("alice@contoso.com")
        .object_id(two.object_id)
        .expires_in(4);
    let mut session = rig.session(&standby, "two", &short.text()?)?;
    expect_end(&mut session, EXPIRED)
}
