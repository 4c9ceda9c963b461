//! Tokens that look good but for the key that signed them, which the server has to look for.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use pg_test::Result;
use pg_test::emulator::Emulator;
use pg_test::rig::{Rig, Subject, ensure};
use serde_json::json;
use uuid::Uuid;

use crate::Test;
use crate::pgbouncer::{Pooled, SESSION};

pub const TESTS: &[Test] = &[("they_refuse_no_good_token", flood)];

/// Fifty tokens a second, each with a key id of its own.
const PAUSE: Duration = Duration::from_millis(20);
const TIME: Duration = Duration::from_secs(5);

fn flood(rig: &Rig) -> Result<()> {
    let mut emulator = Emulator::prepare(rig.run(), "entra-pooled-flood")?;
    emulator.start()?;
    let pooled = Pooled::start(rig, "pooled-flood", |plan| {
        plan.set("aadauth.authority_host", &emulator.authority())
            .set(
                "aadauth.ca_file",
                &emulator.authorities().display().to_string(),
            )
            // The server looks for a key again and again.
            .set("aadauth.signing_key_refresh_cooldown", "1s")
    })?;
    let person = rig.person(&pooled.server, "pooled_person")?;
    let token = || {
        emulator
            .token(Subject::User("alice@contoso.com".to_owned()))
            .object_id(person.object_id)
    };
    let good = token().text()?;
    let bad = (0..TIME.as_millis() / PAUSE.as_millis())
        .map(|_| token().header("kid", Uuid::new_v4().to_string()).text())
        .collect::<Result<Vec<_>>>()?;
    pooled.query(SESSION, &person.role, &good, "SELECT 1")?;
    // A login that waited for a key would wait for long.
    emulator.disturb(&json!({ "fault": { "slow": 20_000 } }))?;
    let (done, wrongly_in) = (AtomicBool::new(false), AtomicUsize::new(0));
    let (good_ones, took) = std::thread::scope(|scope| -> Result<_> {
        let good_ones = scope.spawn(|| -> Result<usize> {
            let mut number = 0;
            while !done.load(Ordering::Relaxed) {
                // Its error says why it was refused.
                pooled.session(SESSION, &person.role, &good)?;
                number += 1;
            }
            Ok(number)
        });
        let began = Instant::now();
        // Each in a thread of its own: those who wait hold up no others.
        for (number, secret) in (0_u32..).zip(&bad) {
            let (pooled, role, wrongly_in) = (&pooled, &person.role, &wrongly_in);
            scope.spawn(move || {
                let sign_in = pooled.sign_in(SESSION, role, secret);
                let is_in = sign_in.is_ok_and(|sign_in| sign_in.outcome.is_in());
                wrongly_in.fetch_add(usize::from(is_in), Ordering::Relaxed);
            });
            sleep((PAUSE * (number + 1)).saturating_sub(began.elapsed()));
        }
        let took = began.elapsed();
        done.store(true, Ordering::Relaxed);
        let good_ones = good_ones.join().map_err(|_| "a client panicked")??;
        Ok((good_ones, took))
    })?;
    let log = pooled.log()?;
    let again = log
        .matches("refused, the next try may succeed: role")
        .count();
    println!(
        "{good_ones} good tokens beside {} with unknown keys in {took:?}, {again} of which may be tried again",
        bad.len()
    );
    ensure(wrongly_in.into_inner() == 0, || {
        "let in with an unknown key".to_owned()
    })?;
    ensure(took < TIME * 2 && good_ones > 50, || {
        format!("{good_ones} good ones in {took:?}")
    })?;
    ensure(again > 0, || "no key was looked for".to_owned())
}
