//! Signing keys: rotation, an authority that is away, slow or flooded with requests.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use pg_test::emulator::Emulator;
use pg_test::process::signal;
use pg_test::server::Server;
use pg_test::wait::{until, until_within};
use pg_test::{Error, Result};
use rustix::process::Signal;
use serde_json::json;
use uuid::Uuid;

use crate::Test;
use crate::pooler::{Pooler, TRY_AGAIN};
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
    ("an_invented_key_id_delays_no_rotation", invented_key),
    ("a_crash_restart", crash_restart),
    ("a_network_worker_that_was_ended_comes_back", worker_ended),
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
    // Only the server's account can read them.
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
    let usual = median(
        (0..15)
            .map(|_| duration(&own, &good))
            .collect::<Result<_>>()?,
    )?;
    let before = own.emulator.key_fetches()?;
    let done = AtomicBool::new(false);
    let (marks, durations) = std::thread::scope(|scope| -> Result<_> {
        let flood: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| -> Result<Vec<String>> {
                    (0..50)
                        .map(|_| Ok(own.rig.sign_in(&own.server, "someone", &junk)?.mark))
                        .collect()
                })
            })
            .collect();
        let beside = scope.spawn(|| -> Result<Vec<Duration>> {
            let mut durations = Vec::new();
            while !done.load(Ordering::Relaxed) {
                durations.push(duration(&own, &good)?);
            }
            Ok(durations)
        });
        let marks: Vec<Result<Vec<String>>> = flood
            .into_iter()
            .map(|thread| {
                thread
                    .join()
                    .map_err(|_| Error::from("a thread panicked"))
                    .flatten()
            })
            .collect();
        // Whatever came of the flood: the thread beside it must end.
        done.store(true, Ordering::Relaxed);
        let durations = beside
            .join()
            .map_err(|_| Error::from("a thread panicked"))??;
        let marks = marks.into_iter().collect::<Result<Vec<_>>>()?;
        Ok((marks.concat(), durations))
    })?;
    let reasons = marks
        .iter()
        .map(|mark| Ok(own.rig.event(&own.server, mark)?["reason"].to_string()))
        .collect::<Result<Vec<_>>>()?;
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
    // Five clients share the processors, and the machine may have more to do; a sign-in that waited
    // for a refresh would take two seconds.
    let beside = median(durations)?;
    ensure(beside < usual * 20, || {
        format!("a good sign-in took {beside:?} beside the flood, {usual:?} before")
    })
}

fn invented_key(rig: &Rig) -> Result<()> {
    let own = Own::start(
        rig,
        "invented",
        &[("aadauth.signing_key_refresh_cooldown", "1h")],
    )?;
    let invented = own.good().header("kid", "never-published").text()?;
    let refused = |reason| rig.refused(&own.server, "someone", &invented, reason);
    refused("key-unknown")?;
    own.emulator.rotate()?;
    let token = own.token()?;
    until("a token with the new key is accepted", || {
        let sign_in = rig.sign_in(&own.server, "someone", &token)?;
        Ok(sign_in.outcome.is_in().then_some(()))
    })?;
    // It is not new any more, however often it comes.
    let before = own.emulator.key_fetches()?;
    refused("key-refresh-cooling-down")?;
    let after = own.emulator.key_fetches()?;
    ensure(after == before, || format!("{} fetches", after - before))
}

fn duration(own: &Own<'_>, token: &str) -> Result<Duration> {
    let start = Instant::now();
    own.rig.accepted(&own.server, "someone", token)?;
    Ok(start.elapsed())
}

fn median(mut durations: Vec<Duration>) -> Result<Duration> {
    durations.sort_unstable();
    let middle = durations.get(durations.len() / 2);
    Ok(*middle.ok_or("nothing was measured")?)
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
    // Poolers do not wait, and so take no place of those who do.
    own.server
        .sql("CREATE ROLE pgb1 LOGIN IN ROLE aadauth_pooler")?;
    let mut pooler = Pooler::connect(&own.server)?;
    for _ in 0..20 {
        pooler.expect("someone", &token, (TRY_AGAIN, "key-refresh-timed-out"))?;
    }
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

fn worker_ended(rig: &Rig) -> Result<()> {
    const TITLE: &str = "aadauth network worker";
    let own = Own::start(
        rig,
        "worker-ended",
        &[("aadauth.signing_key_refresh_cooldown", "1s")],
    )?;
    let worker = own.server.child(TITLE)?.ok_or("no network worker")?;
    signal(worker, Signal::TERM)?;
    until("the worker ends", || {
        Ok((own.server.child(TITLE)? != Some(worker)).then_some(()))
    })?;
    // The keys that it fetched serve without it.
    own.accepted()?;
    until_within(Duration::from_secs(15), "the worker is back", || {
        own.server.child(TITLE)
    })?;
    // And it does its work: the next key is one that only a fetch can bring.
    own.emulator.rotate()?;
    until("the new key is there", || {
        let sign_in = rig.sign_in(&own.server, "someone", &own.token()?)?;
        Ok(sign_in.outcome.is_in().then_some(()))
    })
}

/// An air-gapped server: the keys come from a file, and nothing is fetched.
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
