//! Who gets in through PgBouncer, while a server connection of the role waits in its pool.

use std::time::{Duration, Instant};

use entra_emulator::Deviation;
use pg_test::Result;
use pg_test::emulator::Emulator;
use pg_test::rig::{Rig, Subject, ensure};
use pg_test::wait::until;
use uuid::Uuid;

use crate::Test;
use crate::pgbouncer::{MODES, Pooled, SESSION};
use crate::version::{LONG_TOKENS, is_at_least};

pub const TESTS: &[Test] = &[
    ("a_good_token_in_all_modes", good),
    ("over_pgbouncers_unix_socket", unix_socket),
    ("a_new_signing_key_is_there_at_the_next_try", new_key),
    ("what_is_refused_beside_a_warm_connection", refused),
    ("a_thousand_interleaved_tries", interleaved),
    ("more_clients_than_the_queue_has_places", full_queue),
    ("pgbouncer_is_woken_up", woken_up),
];

const ALICE: &str = "alice@contoso.com";

fn good(rig: &Rig) -> Result<()> {
    let pooled = Pooled::start(rig, "pooled-good", |plan| plan)?;
    let person = rig.person(&pooled.server, "pooled_person")?;
    let token = rig.token_of(&person)?;
    for (mode, pools) in MODES.into_iter().zip(1..) {
        for _ in 0..2 {
            let user = pooled.query(mode, &person.role, &token, "SELECT current_user")?;
            ensure(user == person.role, || user)?;
        }
        // The second login has taken the connection of the first.
        let connections = pooled.server_connections(&person.role)?;
        ensure(connections == pools, || format!("{mode}: {connections}"))?;
    }
    Ok(())
}

/// Such clients have no address, and libpam must not ask a name server for that of a host `unix`.
fn unix_socket(rig: &Rig) -> Result<()> {
    let pooled = Pooled::start(rig, "pooled-unix", |plan| plan)?;
    let module = pooled.module();
    let host = |is: &str| {
        // The libraries that 1.26 is unpacked with have no pam_exec that runs.
        if is_at_least(LONG_TOKENS) {
            return Ok(());
        }
        let test =
            format!(r#"auth required pam_exec.so quiet /bin/sh -c [test "$PAM_RHOST" = "{is}"]"#);
        pooled.set_service(&format!("{module}\n{test}"), &module)
    };
    let person = rig.person(&pooled.server, "pooled_person")?;
    let token = rig.token_of(&person)?;
    // The address of others stays, for modules such as pam_access.
    host("127.0.0.1")?;
    pooled.query(SESSION, &person.role, &token, "SELECT 1")?;
    host("")?;
    for (secret, is_good) in [(token.as_str(), true), ("password", false)] {
        let mut connection = pooled.connect_locally(SESSION, &person.role)?;
        connection.request()?;
        connection.password(secret.as_bytes())?;
        let outcome = connection.outcome()?;
        ensure(outcome.is_in() == is_good, || format!("{outcome:?}"))?;
    }
    let log = pooled.log()?;
    ensure(log.contains(", client unix"), || log)
}

/// The server has to fetch the key, and lets nobody wait for it.
fn new_key(rig: &Rig) -> Result<()> {
    let mut emulator = Emulator::with_own_keys(rig.run(), "pooled-entra")?;
    emulator.start()?;
    let pooled = Pooled::start(rig, "pooled-new-key", |plan| {
        plan.set("aadauth.authority_host", &emulator.authority())
            .set(
                "aadauth.ca_file",
                &emulator.authorities().display().to_string(),
            )
    })?;
    let person = rig.person(&pooled.server, "pooled_person")?;
    let token = || {
        emulator
            .token(Subject::User(ALICE.to_owned()))
            .object_id(person.object_id)
            .text()
    };
    pooled.query(SESSION, &person.role, &token()?, "SELECT 1")?;
    emulator.rotate()?;
    let token = token()?;
    let outcome = pooled.sign_in(SESSION, &person.role, &token)?.outcome;
    let log = pooled.log()?;
    ensure(
        !outcome.is_in() && log.contains("refused, the next try may succeed: role"),
        || log,
    )?;
    until("the key is there", || {
        let outcome = pooled.sign_in(SESSION, &person.role, &token)?.outcome;
        Ok(outcome.is_in().then_some(()))
    })
}

fn refused(rig: &Rig) -> Result<()> {
    let pooled = Pooled::start(rig, "pooled-refused", |plan| plan)?;
    let person = rig.person(&pooled.server, "pooled_person")?;
    let other = rig.person(&pooled.server, "pooled_other")?;
    let revoked = rig.person(&pooled.server, "pooled_revoked")?;
    pooled.server.sql("CREATE ROLE pooled_local LOGIN")?;
    // Deviations are from a token of somebody in the directory.
    rig.map(
        &pooled.server,
        ALICE,
        "a11ce000-0000-4000-8000-000000000001",
        "user",
    )?;
    let token = rig.token_of(&person)?;
    let revoked_token = rig.token_of(&revoked)?;
    for mode in MODES {
        pooled.query(mode, &person.role, &token, "SELECT 1")?;
        pooled.query(mode, &revoked.role, &revoked_token, "SELECT 1")?;
        pooled.query(mode, ALICE, &rig.alice()?, "SELECT 1")?;
    }
    pooled
        .server
        .sql(&format!("SELECT aadauth.revoke('{}')", revoked.object_id))?;

    let mut bad = vec![
        (
            "another user's".to_owned(),
            person.role.as_str(),
            rig.token_of(&other)?,
        ),
        ("nobody's".to_owned(), &person.role, of_stranger(rig)?),
        ("a word".to_owned(), &person.role, "password".to_owned()),
        (
            "nearly the good one".to_owned(),
            &person.role,
            nearly(&token),
        ),
        ("revoked".to_owned(), &revoked.role, revoked_token),
        (
            "a role that is not mapped".to_owned(),
            "pooled_local",
            token.clone(),
        ),
        (
            "a role that does not exist".to_owned(),
            "pooled_nobody",
            token.clone(),
        ),
        ("another role".to_owned(), &other.role, token.clone()),
    ];
    // Other tenants, audiences and issuers, expired, not yet valid, badly signed, malformed: all that there is.
    let of_users =
        |deviation: &&Deviation| ["any", "user"].contains(&deviation.held.to_string().as_str());
    for deviation in Deviation::all().iter().filter(of_users) {
        let text = rig.user("alice@contoso.com").deviation(deviation).text()?;
        bad.push((deviation.name.to_owned(), ALICE, text));
    }
    ensure(bad.len() > 50, || format!("only {} cases", bad.len()))?;
    for mode in MODES {
        for (name, role, secret) in &bad {
            // A password ends where a NUL is, and a longer message than PgBouncer reads ends the connection.
            let outcome = pooled.sign_in(mode, role, secret)?.outcome;
            ensure(!outcome.is_in(), || format!("{name}: let in by {mode}"))?;
        }
        for role in [&person.role, ALICE] {
            ensure(pooled.server_connections(role)? >= 1, || {
                format!("there is no connection of {role} that they could have got")
            })?;
        }
        pooled.query(mode, &person.role, &token, "SELECT 1")?;
    }
    Ok(())
}

/// Good and bad ones in turn, by four clients at once: no bad one gets in by a good one, and no good one is refused
/// because of a bad one.
fn interleaved(rig: &Rig) -> Result<()> {
    let pooled = Pooled::start(rig, "pooled-interleaved", |plan| plan)?;
    let person = rig.person(&pooled.server, "pooled_person")?;
    let good = rig.token_of(&person)?;
    let bad = [
        "password".to_owned(),
        of_stranger(rig)?,
        rig.user("alice@contoso.com")
            .object_id(person.object_id)
            .expires_in(-7200)
            .text()?,
        nearly(&good),
    ];
    let crowd = Crowd {
        pooled: &pooled,
        role: &person.role,
        good: &good,
        bad: &bad,
    };
    crowd.sign_in(4, 250)
}

/// More clients at once than PgBouncer's queue has places, with PgBouncer woken up by a signal as well. Connections
/// that wake it up take places of `max_client_conn`, as do those that PgBouncer has not seen closed: there must be few.
fn full_queue(rig: &Rig) -> Result<()> {
    let pooled = Pooled::start(rig, "pooled-queue", |plan| {
        plan.set("max_connections", "150")
    })?;
    pooled.configure("deadline = 5000\nwake = signal")?;
    let person = rig.person(&pooled.server, "pooled_person")?;
    let crowd = Crowd {
        pooled: &pooled,
        role: &person.role,
        good: &rig.token_of(&person)?,
        bad: &["password".to_owned()],
    };
    crowd.sign_in(30, 10)
}

/// PgBouncer notices the end of a login at once, not by its timer.
fn woken_up(rig: &Rig) -> Result<()> {
    const TIMER: Duration = Duration::from_millis(333);
    let pooled = Pooled::start(rig, "pooled-woken", |plan| plan)?;
    let person = rig.person(&pooled.server, "pooled_person")?;
    let token = rig.token_of(&person)?;
    let median = |wake: &str| -> Result<Duration> {
        pooled.configure(&format!("deadline = 2000\nwake = {wake}"))?;
        let mut times = Vec::new();
        for _ in 0..9 {
            let began = Instant::now();
            pooled.query(SESSION, &person.role, &token, "SELECT 1")?;
            times.push(began.elapsed());
        }
        times.sort_unstable();
        Ok(times[4])
    };
    let (off, on, signal) = (median("off")?, median("on")?, median("signal")?);
    // Without, some are lucky: something else happens at the right moment.
    println!(
        "a login takes {off:?} without waking PgBouncer up, {on:?} with, {signal:?} with a signal"
    );
    ensure(on < TIMER / 2 && signal < TIMER / 2, || {
        format!("{on:?}, {signal:?}")
    })
}

/// Clients who sign in to a role with good and bad credentials in turn.
pub struct Crowd<'a> {
    pub pooled: &'a Pooled<'a>,
    pub role: &'a str,
    pub good: &'a str,
    pub bad: &'a [String],
}

impl Crowd<'_> {
    pub fn sign_in(&self, clients: usize, tries: usize) -> Result<()> {
        let outcomes = std::thread::scope(|scope| {
            let clients: Vec<_> = (0..clients)
                .map(|client| scope.spawn(move || self.one(client, tries)))
                .collect();
            clients
                .into_iter()
                .map(|client| client.join().map_err(|_| "a client panicked")?)
                .collect::<Result<Vec<_>>>()
        })?;
        ensure(outcomes == vec![(0, 0); clients], || {
            format!("wrongly in, wrongly out, by client: {outcomes:?}")
        })
    }

    /// How many bad credentials were let in, and how many good ones refused.
    fn one(&self, client: usize, tries: usize) -> Result<(usize, usize)> {
        let (mut wrongly_in, mut wrongly_out) = (0, 0);
        for number in 0..tries {
            let is_good = (number + client).is_multiple_of(2);
            let bad = &self.bad[number / 2 % self.bad.len()];
            let secret = if is_good { self.good } else { bad };
            let mode = MODES[number / 4 % MODES.len()];
            let outcome = self.pooled.sign_in(mode, self.role, secret)?.outcome;
            if is_good && !outcome.is_in() {
                println!("client {client}: {outcome:?}");
            }
            wrongly_in += usize::from(outcome.is_in() && !is_good);
            wrongly_out += usize::from(!outcome.is_in() && is_good);
        }
        Ok((wrongly_in, wrongly_out))
    }
}

/// A good token of somebody who is mapped to no role.
fn of_stranger(rig: &Rig) -> Result<String> {
    rig.user("alice@contoso.com")
        .object_id(Uuid::new_v4())
        .text()
}

/// A token with one character of its signature changed.
pub fn nearly(token: &str) -> String {
    let at = token.len() - 20;
    let other = if &token[at..=at] == "A" { "B" } else { "A" };
    format!("{}{other}{}", &token[..at], &token[at + 1..])
}
