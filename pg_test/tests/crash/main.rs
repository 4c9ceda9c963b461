//! The audit through crashes: clients sign in and are refused at full speed while processes of the server,
//! or all of it, are killed with SIGKILL. An attempt that got an answer must be in the table exactly once, one that got
//! none at most once.
//!
//! `AADAUTH_CRASH_SECONDS` says for how long (60), `AADAUTH_CRASH_SEED` the seed of what is random: the
//! attempts, and what is killed when. Processes are not scheduled alike twice, so the same seed brings a run of the same
//! kind, not the same run.

mod balance;
mod clients;
mod killer;
mod ledger;

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use fastrand::Rng;
use libtest_mimic::Arguments;
use pg_test::Result;
use pg_test::kill;
use pg_test::rig::{Rig, ensure};
use pg_test::server::Server;
use pg_test::timing::{conclude, trial};
use pg_test::wait::until;

use clients::{CLIENTS, Load};
use killer::{Kills, Victim};
use ledger::{Answer, Attempt, Balance, Row};

fn main() -> ExitCode {
    let mut trials = vec![trial("crash::nothing_is_lost_and_nothing_twice", run)];
    for (name, test) in balance::TESTS {
        trials.push(trial(format!("ledger::notices_{name}"), test));
    }
    conclude(
        "crash",
        &libtest_mimic::run(&Arguments::from_args(), trials),
    )
}

fn run() -> Result<()> {
    let (time, seed) = (kill::time(60)?, kill::seed()?);
    println!("{time:?}, seed {seed} (AADAUTH_CRASH_SECONDS, AADAUTH_CRASH_SEED)");
    let rig = Rig::start()?;
    let mut server = rig.start_plan(
        rig.plan("crash")?
            .hba(&clients::LINES)
            .set("max_connections", "200")
            // As it is by default: what comes in floods is counted.
            .unset("aadauth.audit_single_refusals")
            .set("aadauth.audit_local_sign_ins", "on")
            // Nothing may depend on when other transactions get to the disk.
            .set("synchronous_commit", "off")
            .set("log_connections", "off"),
    )?;
    let outcome = kill_and_compare(&rig, &mut server, time, seed);
    outcome.map_err(|error| {
        format!(
            "{error}\nthe end of the server's log:\n{}",
            end_of_log(&server)
        )
        .into()
    })
}

fn kill_and_compare(rig: &Rig, server: &mut Server, time: Duration, seed: u64) -> Result<()> {
    rig.prepare(server)?;
    let load = Load::prepare(rig, server)?;
    // A kill must not undo it: without synchronous_commit, the last half second of transactions may be lost.
    server.sql("CHECKPOINT")?;

    let began = Instant::now();
    let (kills, mut attempts) = kill_under_load(&load, server, time, seed)?;
    let took = began.elapsed();
    let mut problem = None;
    let agreed = until("the table agrees with what clients saw", || {
        drain(&load, server, &mut attempts)?;
        let balance = Balance::compare(&attempts, &rows(server)?);
        problem = balance.check().err();
        Ok(problem.is_none().then_some(()))
    });
    agreed.map_err(|error| match problem {
        Some(problem) => format!("{error}\n{problem}").into(),
        None => error,
    })?;
    // Nor does anything come again.
    server.restart()?;
    rig.await_keys(server)?;
    drain(&load, server, &mut attempts)?;
    let balance = Balance::compare(&attempts, &rows(server)?);
    report(server, &attempts, &kills, &balance, took)?;
    balance.check()?;
    ensure(
        Victim::ALL.iter().all(|victim| kills.contains_key(victim)),
        || format!("not everything was killed: {kills:?}"),
    )?;
    let answers = |of: fn(&Answer) -> bool| attempts.iter().any(|attempt| of(&attempt.answer));
    ensure(
        answers(|answer| *answer == Answer::Accepted)
            && answers(|answer| matches!(answer, Answer::Refused(_))),
        || "nobody got in, or nobody was refused".to_owned(),
    )?;
    ensure(
        balance.aggregates > balance.without_role && balance.counted_without_role > 0,
        || "no row counts several attempts as one role, or as many".to_owned(),
    )
}

/// The last lines that it logged.
fn end_of_log(server: &Server) -> String {
    let log = server.log().unwrap_or_else(|error| error.to_string());
    let lines: Vec<_> = log.lines().collect();
    lines[lines.len().saturating_sub(60)..].join("\n")
}

/// Whether there are counts of many roles and many addresses. (Those of the local socket come without TLS.)
const WITHOUT_ADDRESS: &str = "\
SELECT EXISTS (
    SELECT FROM aadauth.sign_in_audit WHERE role = '(many)' AND client_address IS NULL AND tls)";

/// Runs the clients while the server's processes are killed.
fn kill_under_load(
    load: &Load,
    server: &mut Server,
    time: Duration,
    seed: u64,
) -> Result<(Kills, Vec<Attempt>)> {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| {
                let (stop, seed) = (&stop, seed.wrapping_add(number + 1));
                scope.spawn(move || load.run(&number.to_string(), seed, stop))
            })
            .collect();
        let flooded = until("names and addresses find no room", || {
            Ok((server.sql(WITHOUT_ADDRESS)? == "t").then_some(()))
        });
        let kills = flooded.and_then(|()| killer::kill_in_turn(server, Rng::with_seed(seed), time));
        stop.store(true, Ordering::Relaxed);
        let mut attempts = Vec::new();
        for client in clients {
            attempts.extend(client.join().map_err(|_| "a client panicked")?);
        }
        Ok((kills?, attempts))
    })
}

/// Waits until nothing in the spool is unread. One more sign-in ends a line that was torn.
fn drain(load: &Load, server: &Server, attempts: &mut Vec<Attempt>) -> Result<()> {
    let mark = format!("crash-last-{}", attempts.len());
    attempts.push(load.sign_in(&mark).ok_or("nobody listens any more")?);
    until("the spool is in the table", || {
        Ok((server.sql(UNREAD)? == "f").then_some(()))
    })
}

/// Whether there is something in the spool that the worker has not read. Its file is not asked for again when
/// it is removed meanwhile.
const UNREAD: &str = "\
SELECT EXISTS (
    SELECT FROM pg_ls_dir('aadauth/spool') AS file
    LEFT JOIN aadauth.audit_spool AS s ON file = s.spool_id || '.jsonl'
    WHERE file LIKE '%.jsonl'
        AND (pg_stat_file('aadauth/spool/' || file, true)).size > coalesce(s.read_to, 0))";

fn rows(server: &Server) -> Result<Vec<Row>> {
    server.sql(ledger::ROWS)?.lines().map(Row::parse).collect()
}

fn report(
    server: &Server,
    attempts: &[Attempt],
    kills: &Kills,
    balance: &Balance,
    took: Duration,
) -> Result<()> {
    let count = |of: fn(&Answer) -> bool| {
        attempts
            .iter()
            .filter(|attempt| of(&attempt.answer))
            .count()
    };
    let torn = server.sql("SELECT coalesce(sum(skipped_lines), 0) FROM aadauth.audit_spool")?;
    println!(
        "{} attempts in {} s: {} accepted, {} refused, {} turned away by PostgreSQL, {} without an answer\n\
         killed: {kills:?}\n\
         of those with an answer, {} have a row and {} are in the counts of {} rows; of those without, {} have a row\n\
         of the rows with counts, {} have no role, with {} of these attempts\n\
         torn lines: {torn}\n\
         lost: {}, twice: {}, wrong: {}",
        attempts.len(),
        took.as_secs(),
        count(|answer| *answer == Answer::Accepted),
        count(|answer| matches!(answer, Answer::Refused(_))),
        balance.turned_away,
        balance.unanswered,
        balance.recorded,
        balance.counted,
        balance.aggregates,
        balance.unanswered_recorded,
        balance.without_role,
        balance.counted_without_role,
        balance.lost.len(),
        balance.doubled.len(),
        balance.wrong.len(),
    );
    Ok(())
}
