//! Signing keys: rotation, an authority that is away, slow or flooded with questions.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use pg_test::emulator::Emulator;
use pg_test::server::Server;
use pg_test::wait::until;
use pg_test::{Error, Result};
use serde_json::json;
use uuid::Uuid;

use crate::Test;
use crate::rig::{Rig, ensure};

pub const TESTS: &[Test] = &[
    ("rotation_loses_no_sign_in", rotation),
    (
        "a_restart_while_the_authority_is_away",
        restart_without_authority,
    ),
    ("many_unknown_keys_cause_one_fetch", unknown_keys),
    (
        "unknown_keys_for_others_cause_no_fetch",
        implausible_unknown_keys,
    ),
    ("a_slow_authority_times_out", slow_authority),
    ("a_crash_restart", crash_restart),
    ("a_key_file", key_file),
];

/// An emulator and a server of the test's own, with a person who may sign in.
struct Own<'a> {
    rig: &'a Rig,
    server: Server,
    emulator: Emulator,
    object_id: Uuid,
}

impl<'a> Own<'a> {
    fn start(rig: &'a Rig, name: &str, settings: &[(&str, &str)]) -> Result<Own<'a>> {
        let mut emulator = Emulator::prepare(rig.run(), &format!("entra-{name}"))?;
        emulator.start()?;
        let server = rig.server(name, |mut plan| {
            plan = plan
                .set("aadauth.authority_host", &emulator.authority())
                .set(
                    "aadauth.ca_file",
                    &emulator.authorities().display().to_string(),
                );
            settings
                .iter()
                .fold(plan, |plan, (name, value)| plan.set(name, value))
        })?;
        let person = rig.person(&server, "someone")?;
        let own = Own {
            rig,
            server,
            emulator,
            object_id: person.object_id,
        };
        // Both versions' key sets are there when a token of each is accepted.
        own.rig.accepted(&own.server, "someone", &own.token()?)?;
        Ok(own)
    }

    fn good(&self) -> pg_test::emulator::Token<'_> {
        let alice = crate::rig::Subject::User("alice@contoso.com".to_owned());
        self.emulator.token(alice).object_id(self.object_id)
    }

    fn token(&self) -> Result<String> {
        self.good().text()
    }

    fn accepted(&self) -> Result<()> {
        self.rig
            .accepted(&self.server, "someone", &self.token()?)
            .map(drop)
    }
}

fn rotation(rig: &Rig) -> Result<()> {
    let own = Own::start(
        rig,
        "rotation",
        &[("aadauth.signing_key_refresh_cooldown", "1s")],
    )?;
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let busy: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| -> Result<u32> {
                    let mut signed_in = 0;
                    // Each token is signed with the key that's current when it's made.
                    while !done.load(Ordering::Relaxed) || signed_in < 20 {
                        own.accepted()?;
                        signed_in += 1;
                    }
                    Ok(signed_in)
                })
            })
            .collect();
        let rotated = (0..3).try_for_each(|_| -> Result<()> {
            own.emulator.rotate()?;
            // Well past the cool-down, so that the worker may look again.
            let until = Instant::now() + Duration::from_millis(1500);
            while Instant::now() < until {
                own.accepted()?;
            }
            Ok(())
        });
        done.store(true, Ordering::Relaxed);
        for worker in busy {
            worker
                .join()
                .map_err(|_| Error::from("a thread panicked"))??;
        }
        rotated
    })
}

fn restart_without_authority(rig: &Rig) -> Result<()> {
    let mut own = Own::start(rig, "away", &[])?;
    own.emulator.stop()?;
    own.server.restart()?;
    until("the stored keys serve", || {
        let sign_in = own.rig.sign_in(&own.server, "someone", &own.token()?)?;
        Ok(sign_in.outcome.is_in().then_some(()))
    })?;
    // They are kept for the server's account alone.
    let open = pg_test::process::checked(
        std::process::Command::new("find")
            .arg(own.server.data().join("aadauth"))
            .args(["-type", "f", "-perm", "/077"]),
    )?;
    ensure(open.is_empty(), || format!("readable by others: {open}"))
}

fn unknown_keys(rig: &Rig) -> Result<()> {
    let own = Own::start(
        rig,
        "unknown",
        &[("aadauth.signing_key_refresh_cooldown", "1h")],
    )?;
    let junk = own.good().header("kid", "never-published").text()?;
    let good = own.token()?;
    let usual = fastest(&own, &good)?;
    let before = own.emulator.key_fetches()?;
    let done = AtomicBool::new(false);
    let (reasons, slowest) = std::thread::scope(|scope| -> Result<_> {
        let flood: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| -> Result<Vec<String>> {
                    (0..50)
                        .map(|_| Ok(own.rig.sign_in(&own.server, "someone", &junk)?.mark))
                        .collect()
                })
            })
            .collect();
        let beside = scope.spawn(|| -> Result<Duration> {
            let mut best = Duration::MAX;
            while !done.load(Ordering::Relaxed) {
                best = best.min(fastest(&own, &good)?);
            }
            Ok(best)
        });
        let mut marks = Vec::new();
        for thread in flood {
            marks.extend(
                thread
                    .join()
                    .map_err(|_| Error::from("a thread panicked"))??,
            );
        }
        done.store(true, Ordering::Relaxed);
        let best = beside
            .join()
            .map_err(|_| Error::from("a thread panicked"))??;
        let mut reasons = Vec::new();
        for mark in marks {
            reasons.push(own.rig.event(&own.server, &mark)?["reason"].to_string());
        }
        Ok((reasons, best))
    })?;
    // One fetch asks for the keys of both versions.
    let fetches = own.emulator.key_fetches()? - before;
    ensure(fetches <= 2, || format!("{fetches} requests for keys"))?;
    let cooling = reasons
        .iter()
        .filter(|reason| reason.contains("key-refresh-cooling-down"))
        .count();
    ensure(cooling >= 180, || {
        format!("{cooling} of 200 were refused at once: {reasons:?}")
    })?;
    ensure(slowest < usual * 10 + Duration::from_millis(100), || {
        format!("a good sign-in took {slowest:?} beside the flood, {usual:?} before")
    })
}

fn fastest(own: &Own<'_>, token: &str) -> Result<Duration> {
    let mut best = Duration::MAX;
    for _ in 0..3 {
        let start = Instant::now();
        own.rig.accepted(&own.server, "someone", token)?;
        best = best.min(start.elapsed());
    }
    Ok(best)
}

fn implausible_unknown_keys(rig: &Rig) -> Result<()> {
    let own = Own::start(
        rig,
        "implausible",
        &[("aadauth.signing_key_refresh_cooldown", "1s")],
    )?;
    let unknown = || own.good().header("kid", "never-published");
    let before = own.emulator.key_fetches()?;
    for token in [
        unknown()
            .claim("aud", "https://graph.microsoft.com")
            .text()?,
        unknown().expires_in(-3600).text()?,
    ] {
        rig.refused(&own.server, "someone", &token, "key-unknown")?;
    }
    let fetches = own.emulator.key_fetches()? - before;
    ensure(fetches == 0, || format!("{fetches} requests for keys"))?;
    // And the same key id in a plausible token does cause one.
    rig.refused(&own.server, "someone", &unknown().text()?, "key-unknown")?;
    ensure(own.emulator.key_fetches()? > before, || {
        "no fetch at all".to_owned()
    })
}

fn slow_authority(rig: &Rig) -> Result<()> {
    let own = Own::start(
        rig,
        "slow",
        &[("aadauth.signing_key_refresh_cooldown", "1s")],
    )?;
    own.emulator
        .disturb(&json!({ "fault": { "slow": 20_000 } }))?;
    let token = own.good().header("kid", "never-published").text()?;
    let start = Instant::now();
    rig.refused(&own.server, "someone", &token, "key-refresh-timed-out")?;
    let took = start.elapsed();
    ensure(took < Duration::from_secs(10), || {
        format!("waited {took:?}")
    })?;
    own.accepted()
}

fn crash_restart(rig: &Rig) -> Result<()> {
    let mut own = Own::start(rig, "crash", &[])?;
    let (mut connection, _) = rig.connect(&own.server, "someone")?;
    connection.request()?;
    connection.password(own.token()?.as_bytes())?;
    ensure(connection.outcome()?.is_in(), || "not let in".to_owned())?;
    let backend = connection.query("SELECT pg_backend_pid()")?;
    let backend = backend.first().ok_or("no process id")?.parse()?;
    own.server.crash(backend)?;
    until("sign-ins work after the crash", || {
        let sign_in = rig.sign_in(&own.server, "someone", &own.token()?)?;
        Ok(sign_in.outcome.is_in().then_some(()))
    })?;
    let refused = rig.sign_in(&own.server, "someone", "not a token")?;
    ensure(refused.outcome.refusal().is_some(), || {
        format!("{:?}", refused.outcome)
    })
}

/// An air-gapped server: the keys come from a file, nobody is asked.
fn key_file(rig: &Rig) -> Result<()> {
    let emulator = Emulator::prepare(rig.run(), "entra-file")?;
    let keys = entra_emulator::SigningKeys::open(emulator.state())?.key_set(None);
    let file = rig.run().path().join("jwks.json");
    std::fs::write(&file, keys.to_string())?;
    let server = rig.server("file", |plan| {
        plan.set("aadauth.authority_host", &emulator.authority())
            .set("aadauth.jwks_file", &file.display().to_string())
    })?;
    let person = rig.person(&server, "someone")?;
    let alice = crate::rig::Subject::User("alice@contoso.com".to_owned());
    let token = emulator.token(alice).object_id(person.object_id).text()?;
    rig.accepted(&server, "someone", &token)?;
    rig.refused(
        &server,
        "someone",
        &rig.token_of(&person)?,
        "issuer-not-served",
    )
}
