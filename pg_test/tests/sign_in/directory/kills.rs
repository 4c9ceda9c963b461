//! Askers that are killed, terminated, cancelled, cut off or left waiting too long: the others get their own
//! answers and no others', and what the ended ones held comes free.
//!
//! `AADAUTH_KILL_ROUNDS` says how many rounds there are; each ends in a crash of the whole server.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use pg_test::Result;
use pg_test::process::signal;
use pg_test::wait::{until, until_within};
use pg_test::wire::{Connection, Outcome};
use rustix::process::Signal;
use serde_json::json;

use crate::directory_server::{ALICE, DirectoryServer, GUEST, STRANGER};
use crate::rig::{Rig, Subject, ensure, library_directory, library_place};

const ASKERS: usize = 10;
const VICTIMS: usize = 3;
/// The victims' role, which only their process titles contain.
const VICTIMS_ROLE: &str = "loop-a";
/// Longer than any answer takes, and shorter than what a test would call a hang.
const HANG: Duration = Duration::from_secs(30);

/// The user, the role that they sign in to, and whether they are a member of its group.
const CASES: &[(&str, &str, bool)] = &[
    (ALICE, "dba", true),
    (STRANGER, "dba", false),
    (GUEST, "analysts", true),
    (GUEST, "dba", false),
    (ALICE, "analysts", true),
    (STRANGER, "analysts", false),
    ("carol@contoso.com", "dba", true),
    ("carol@contoso.com", "loop-b", false),
    (ALICE, "loop-b", true),
    (STRANGER, "loop-b", false),
];

/// What an asker was told.
#[derive(Debug, PartialEq, Eq)]
enum Told {
    Member,
    NotMember,
    /// No answer, or none that says anything about the membership.
    Nothing,
}

struct Storm<'a> {
    own: DirectoryServer<'a>,
    tokens: Vec<String>,
    victims_token: String,
    right: AtomicUsize,
    unanswered: AtomicUsize,
}

pub fn killed_askers(rig: &Rig) -> Result<()> {
    let rounds = match std::env::var("AADAUTH_KILL_ROUNDS") {
        Ok(rounds) => rounds.parse()?,
        Err(_) => 2,
    };
    let mut storm = Storm::start(rig)?;
    let start = Instant::now();
    for round in 1..=rounds {
        storm
            .round()
            .map_err(|error| format!("round {round}: {error}"))?;
        if round % 50 == 0 {
            println!("{round} rounds, {:?}: {storm}", start.elapsed());
        }
    }
    // There were answers to be wrong.
    let right = storm.right.load(Ordering::Relaxed);
    ensure(right >= rounds * ASKERS * 3, || {
        format!("only {right} answers in {rounds} rounds")
    })
}

impl<'a> Storm<'a> {
    fn start(rig: &'a Rig) -> Result<Storm<'a>> {
        let libraries = library_directory(rig.run(), "lib-kills", &["fault-injection"])?;
        let place = library_place()?;
        let own = rig.directory_server_with("kills", |plan, _| {
            Ok(plan
                .mount(&libraries, &place)
                .set("aadauth.group_cache_ttl", "0")
                .set("aadauth.directory_timeout", "2s"))
        })?;
        own.server.sql(
            "CREATE FUNCTION slots() RETURNS bigint LANGUAGE c STRICT
                 AS 'aadauth', 'directory_slots_taken_wrapper'",
        )?;
        let tokens = CASES
            .iter()
            .map(|(user, ..)| own.silent_user(user))
            .collect::<Result<_>>()?;
        let victims_token = own.silent(Subject::User(ALICE.to_owned()))?;
        Ok(Storm {
            own,
            tokens,
            victims_token,
            right: AtomicUsize::default(),
            unanswered: AtomicUsize::default(),
        })
    }

    fn round(&mut self) -> Result<()> {
        self.slow(200)?;
        self.ask_while(|storm| storm.signal_victims(Signal::TERM))?;
        // A cancelled statement; there is none yet, but the wait ends as one.
        self.ask_while(|storm| storm.signal_victims(Signal::INT))?;
        self.ask_while(|storm| {
            drop(storm.victims()?);
            Ok(())
        })?;
        self.await_free()?;

        // Longer than the server waits.
        self.slow(4000)?;
        let late = self.ask_while(|storm| storm.victims().map(drop))?;
        ensure(late.iter().all(|told| *told == Told::Nothing), || {
            format!("impossible responses: {late:?}")
        })?;
        self.own.emulator.behave()?;
        self.await_free()?;
        self.all_are_answered()?;

        self.slow(200)?;
        self.crash()?;
        self.own.emulator.behave()?;
        self.all_are_answered()?;
        self.await_free()
    }

    fn slow(&self, milliseconds: u64) -> Result<()> {
        let fault = json!({ "slow": milliseconds });
        self.own
            .emulator
            .disturb(&json!({ "fault": fault, "endpoint": "graph" }))
    }

    /// Runs sign-ins of all users during `meanwhile`. None may get a wrong result.
    fn ask_while(&self, meanwhile: impl FnOnce(&Self) -> Result<()>) -> Result<Vec<Told>> {
        std::thread::scope(|scope| {
            let askers: Vec<_> = (0..ASKERS)
                .map(|number| scope.spawn(move || self.ask(number)))
                .collect();
            let done = meanwhile(self);
            let told = askers
                .into_iter()
                .map(|asker| asker.join().map_err(|_| "a thread panicked")?)
                .collect::<Result<Vec<_>>>();
            done?;
            told
        })
    }

    /// Signs in, and looks whether what is told is right.
    fn ask(&self, number: usize) -> Result<Told> {
        let place = number % CASES.len();
        let (user, role, is_member) = CASES[place];
        let start = Instant::now();
        let told = match self.own.sign_in(role, &self.tokens[place]) {
            Ok(sign_in) => told(&sign_in.outcome, role)?,
            // The server has crashed, or is about to.
            Err(_) => Told::Nothing,
        };
        let took = start.elapsed();
        ensure(took < HANG, || format!("{user} as {role} took {took:?}"))?;
        let (right, wrong) = match is_member {
            true => (Told::Member, Told::NotMember),
            false => (Told::NotMember, Told::Member),
        };
        ensure(told != wrong, || {
            format!("WRONG ANSWER: {user} as {role} was told {told:?}")
        })?;
        let count = match told == right {
            true => &self.right,
            false => &self.unanswered,
        };
        count.fetch_add(1, Ordering::Relaxed);
        Ok(told)
    }

    fn all_are_answered(&self) -> Result<()> {
        let told = self.ask_while(|_| Ok(()))?;
        ensure(!told.contains(&Told::Nothing), || {
            format!("not all got an answer: {told:?}")
        })
    }

    /// Backends that wait for the directory.
    fn victims(&self) -> Result<Vec<Connection>> {
        let connections = (0..VICTIMS)
            .map(|_| {
                let (mut connection, _) = self.own.rig.connect(&self.own.server, VICTIMS_ROLE)?;
                connection.request()?;
                connection.password(self.victims_token.as_bytes())?;
                Ok(connection)
            })
            .collect::<Result<Vec<_>>>()?;
        Ok(connections)
    }

    fn signal_victims(&self, how: Signal) -> Result<()> {
        let connections = self.victims()?;
        for victim in self.own.server.children(VICTIMS_ROLE)? {
            // It may have ended meanwhile.
            let _ = signal(victim, how);
        }
        for mut connection in connections {
            // Refused, cut off, or quicker than the signal.
            let _ = connection.outcome()?;
        }
        Ok(())
    }

    /// Kills an asker, whereupon the postmaster ends all processes and creates the shared memory again.
    fn crash(&mut self) -> Result<()> {
        let connections = self.victims()?;
        let victims = self.own.server.children(VICTIMS_ROLE)?;
        let mark = self.own.server.log()?.len();
        self.ask_while(|storm| match victims.first() {
            Some(victim) => signal(*victim, Signal::KILL).or_else(|_| storm.kill_any_backend()),
            None => storm.kill_any_backend(),
        })?;
        drop(connections);
        self.own
            .server
            .wait_for_log(mark, "database system is ready to accept")?;
        until("sign-ins work after the crash", || {
            Ok((self.ask(0)? == Told::Member).then_some(()))
        })
    }

    /// Where the victim was too quick.
    fn kill_any_backend(&self) -> Result<()> {
        let victims = self.victims()?;
        let backend = until("there is a backend", || self.own.server.child("127.0.0.1("))?;
        signal(backend, Signal::KILL)?;
        drop(victims);
        Ok(())
    }

    /// A slot may be held for as long as its request might have taken, and no longer.
    fn await_free(&self) -> Result<()> {
        until_within(Duration::from_secs(10), "all slots are free", || {
            Ok((self.own.server.sql("SELECT slots()")? == "0").then_some(()))
        })
    }
}

impl std::fmt::Display for Storm<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (right, unanswered) = (
            self.right.load(Ordering::Relaxed),
            self.unanswered.load(Ordering::Relaxed),
        );
        write!(f, "{right} right answers, {unanswered} times none")
    }
}

fn told(outcome: &Outcome, role: &str) -> Result<Told> {
    let refusal = match outcome {
        Outcome::In => return Ok(Told::Member),
        Outcome::Closed => return Ok(Told::Nothing),
        Outcome::Refused(refusal) => refusal,
    };
    let text = |reason| entra_token::client_text(reason, role, None);
    if refusal.message == text(entra_token::Reason::NotAGroupMember) {
        return Ok(Told::NotMember);
    }
    let is_expected = refusal.message == text(entra_token::Reason::DirectoryTimedOut)
        // Crash, shutdown and recovery, and what is not loaded yet after them.
        || refusal.sqlstate.starts_with("57P")
        || refusal.message == text(entra_token::Reason::SigningKeysUnavailable);
    ensure(is_expected, || format!("unexpected: {refusal:?}"))?;
    Ok(Told::Nothing)
}
