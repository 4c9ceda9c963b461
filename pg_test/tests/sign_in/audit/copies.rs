//! Standbys, promotion, and base backups of a server that is being signed in to.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use pg_test::Result;
use pg_test::plan::Plan;
use pg_test::server::Server;
use pg_test::wait::until;

use super::ledger::{Ledger, rows};
use crate::rig::{OUR_LINES, Person, Rig, ensure};

/// So that a second brings several files of the spool.
fn plan(rig: &Rig, name: &str) -> Result<Plan> {
    let [ours, of_replication] = OUR_LINES;
    Ok(rig
        .plan(name)?
        .hba(&["local replication postgres peer", ours, of_replication])
        .set("aadauth.audit_spool_limit", "256kB"))
}

fn primary(rig: &Rig, name: &str) -> Result<(Server, Person)> {
    let server = rig.start_prepared(plan(rig, name)?)?;
    let person = rig.person(&server, "someone")?;
    Ok((server, person))
}

pub fn standby(rig: &Rig) -> Result<()> {
    let (mut primary, person) = primary(rig, "audit-primary")?;
    let token = rig.token_of(&person)?;
    let secrets = [token.as_str(), "no token"];
    let on_primary = Ledger::default();
    on_primary.sign_in_often(rig, &primary, "someone", &secrets, 40)?;
    let mut standby = plan(rig, "audit-standby")?.start_standby(rig.run(), &primary)?;
    rig.await_keys(&standby)?;
    let on_standby = Ledger::default();
    on_standby.sign_in_often(rig, &standby, "someone", &secrets, 20)?;
    ensure(on_standby.count(true)? == 20, || {
        "the standby lets nobody in".to_owned()
    })?;
    // What it can't record in its table, it keeps through a restart and through a crash.
    standby.restart()?;
    rig.await_keys(&standby)?;
    on_standby.sign_in_often(rig, &standby, "someone", &secrets, 5)?;
    let victim = standby.child("checkpointer")?.ok_or("no checkpointer")?;
    standby.crash(victim)?;
    rig.await_keys(&standby)?;
    on_standby.sign_in_often(rig, &standby, "someone", &secrets, 5)?;
    on_primary.sign_in_often(rig, &primary, "someone", &secrets, 10)?;
    on_primary.expect_each(&primary)?;
    let marks: BTreeSet<String> = rows(&standby)?.into_keys().collect();
    ensure(marks.is_disjoint(&on_standby.marks(true)?), || {
        "events of the standby are in the table before promotion".to_owned()
    })?;
    // A fast shutdown sends the standby everything first.
    primary.stop()?;
    standby.sql("SELECT pg_promote()")?;
    on_standby.expect_each(&standby)?;
    on_primary.expect_each(&standby)?;
    on_standby.sign_in_often(rig, &standby, "someone", &secrets, 10)?;
    standby.restart()?;
    rig.await_keys(&standby)?;
    on_standby.expect_each(&standby)?;
    on_primary.expect_each(&standby)?;
    only(&standby, &[&on_standby, &on_primary])
}

pub fn backup_under_load(rig: &Rig) -> Result<()> {
    let (primary, person) = primary(rig, "audit-original")?;
    let token = rig.token_of(&person)?;
    let (before, during) = (Ledger::default(), Ledger::default());
    let secrets = [token.as_str(), "no token"];
    before.sign_in_often(rig, &primary, "someone", &secrets, 100)?;
    let is_over = AtomicBool::new(false);
    let copy = thread::scope(|scope| -> Result<Server> {
        let clients: Vec<_> = secrets
            .iter()
            .map(|secret| {
                let (during, primary, is_over) = (&during, &primary, &is_over);
                scope.spawn(move || -> std::result::Result<(), String> {
                    while !is_over.load(Ordering::Relaxed) {
                        during
                            .sign_in(rig, primary, "someone", secret)
                            .map_err(|error| error.to_string())?;
                    }
                    Ok(())
                })
            })
            .collect();
        // Some are on their way through the spool when the backup begins.
        let copy = until("the load is there", || {
            Ok((during.count(true)? > 20).then_some(()))
        })
        .and_then(|()| plan(rig, "audit-copy")?.start_copy(rig.run(), &primary));
        is_over.store(true, Ordering::Relaxed);
        for client in clients {
            client.join().map_err(|_| "a client has failed")??;
        }
        copy
    })?;
    // The copy begins with what had been decided when it was taken, and goes its own way.
    rig.await_keys(&copy)?;
    let on_copy = Ledger::default();
    on_copy.sign_in_often(rig, &copy, "someone", &secrets, 20)?;
    on_copy.expect_each(&copy)?;
    before.expect_each(&copy)?;
    only(&copy, &[&before, &during, &on_copy])?;
    before.expect_each(&primary)?;
    during.expect_each(&primary)?;
    only(&primary, &[&before, &during])
}

/// No events but those that clients saw decided.
fn only(server: &Server, ledgers: &[&Ledger]) -> Result<()> {
    let mut seen = BTreeSet::new();
    for ledger in ledgers {
        seen.extend(ledger.marks(true)?);
        seen.extend(ledger.marks(false)?);
    }
    for (mark, outcomes) in rows(server)? {
        ensure(outcomes.len() == 1 && seen.contains(&mark), || {
            format!("{mark}: {outcomes:?}")
        })?;
    }
    Ok(())
}
