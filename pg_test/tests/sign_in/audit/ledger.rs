//! What clients saw, against what the audit's table has.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::thread;

use pg_test::Result;
use pg_test::server::Server;
use pg_test::wait::until;
use pg_test::wire::Outcome;

use crate::rig::{Rig, ensure};

/// The attempts of one test: each by its mark, and how it ended for the client.
#[derive(Default)]
pub struct Ledger(Mutex<BTreeMap<String, bool>>);

impl Ledger {
    /// Signs in once and notes how it ended. `Ok(None)`: the client got no answer.
    pub fn sign_in(
        &self,
        rig: &Rig,
        server: &Server,
        role: &str,
        secret: &str,
    ) -> Result<Option<Outcome>> {
        let Ok(sign_in) = rig.sign_in(server, role, secret) else {
            return Ok(None);
        };
        if sign_in.outcome == Outcome::Closed {
            return Ok(None);
        }
        let mut seen = self.0.lock().map_err(|_| "another thread has failed")?;
        seen.insert(sign_in.mark, sign_in.outcome.is_in());
        Ok(Some(sign_in.outcome))
    }

    /// Signs in as often with each of the secrets, on several connections at once.
    pub fn sign_in_often(
        &self,
        rig: &Rig,
        server: &Server,
        role: &str,
        secrets: &[&str],
        times: usize,
    ) -> Result<()> {
        thread::scope(|scope| {
            let threads: Vec<_> = secrets
                .iter()
                .map(|secret| {
                    scope.spawn(move || -> std::result::Result<(), String> {
                        for _ in 0..times {
                            self.sign_in(rig, server, role, secret)
                                .and_then(|outcome| outcome.ok_or("no answer".into()))
                                .map_err(|error| error.to_string())?;
                        }
                        Ok(())
                    })
                })
                .collect();
            for thread in threads {
                thread.join().map_err(|_| "a client has failed")??;
            }
            Ok(())
        })
    }

    /// The marks of those that were let in, or of those that were not.
    pub fn marks(&self, is_in: bool) -> Result<BTreeSet<String>> {
        let seen = self.0.lock().map_err(|_| "another thread has failed")?;
        let marks = seen.iter().filter(|(_, seen)| **seen == is_in);
        Ok(marks.map(|(mark, _)| mark.clone()).collect())
    }

    pub fn count(&self, is_in: bool) -> Result<u64> {
        Ok(self.marks(is_in)?.len() as u64)
    }

    /// Waits until each attempt is in the table, and sees that none is there twice or otherwise than the
    /// client saw it.
    pub fn expect_each(&self, server: &Server) -> Result<()> {
        let seen = self
            .0
            .lock()
            .map_err(|_| "another thread has failed")?
            .clone();
        let mut missing = 0;
        until("every attempt is in the table", || {
            let rows = rows(server)?;
            missing = seen.keys().filter(|mark| !rows.contains_key(*mark)).count();
            Ok((missing == 0).then_some(()))
        })
        .map_err(|error| format!("{error}: {missing} of {} are missing", seen.len()))?;
        for (mark, outcomes) in rows(server)? {
            ensure(outcomes.len() == 1, || format!("{mark}: {outcomes:?}"))?;
            if let Some(is_in) = seen.get(&mark) {
                ensure((outcomes[0] == "authenticated") == *is_in, || {
                    format!("{mark}: let in: {is_in}, in the table: {outcomes:?}")
                })?;
            }
        }
        Ok(())
    }
}

/// The outcomes in the table, by mark.
pub fn rows(server: &Server) -> Result<BTreeMap<String, Vec<String>>> {
    let listed = server.sql(
        "SELECT application_name, outcome FROM aadauth.sign_in_audit
         WHERE application_name LIKE 'test-%'",
    )?;
    let mut rows: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in listed.lines() {
        let (mark, outcome) = line.split_once('|').ok_or("no columns")?;
        rows.entry(mark.to_owned())
            .or_default()
            .push(outcome.to_owned());
    }
    Ok(rows)
}

/// The number of attempts that those rows stand for.
pub fn sum(server: &Server, condition: &str) -> Result<u64> {
    let sum = server.sql(&format!(
        "SELECT coalesce(sum(count), 0) FROM aadauth.sign_in_audit WHERE {condition}"
    ))?;
    Ok(sum.parse()?)
}

/// Waits for that sum; more than that is an error at once.
pub fn expect_sum(server: &Server, condition: &str, expected: u64) -> Result<()> {
    let mut last = 0;
    until(&format!("{expected} attempts are in the table"), || {
        last = sum(server, condition)?;
        ensure(last <= expected, || {
            format!("{last} attempts where {condition}, not {expected}")
        })?;
        Ok((last == expected).then_some(()))
    })
    .map_err(|error| format!("{error}; only {last} where {condition}").into())
}
