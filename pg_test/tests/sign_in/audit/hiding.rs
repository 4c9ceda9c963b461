//! Floods that are to hide other attempts, by more kinds of refusals than the server counts one by one.

use std::fs;
use std::thread;

use pg_test::Result;
use pg_test::server::Server;
use pg_test::wait::until;
use pg_test::wire::{Outcome, Request};

use super::flood::{expect_few_rows, start};
use super::ledger::{Ledger, expect_sum, sum};
use crate::rig::{OUR_LINES, Rig, ensure};

/// How often an attack was made, and whether the last one happened within one minute: after that, counting begins again,
/// and there is room.
pub struct Attack {
    pub rounds: u64,
    is_of_one_minute: bool,
}

impl Attack {
    /// Makes it once, or a second time from the beginning of a minute on.
    pub fn make(server: &Server, attack: impl Fn(u64) -> Result<()>) -> Result<Attack> {
        let minute = || server.sql("SELECT date_trunc('minute', clock_timestamp())");
        let is_made_in_time = |round| -> Result<bool> {
            let began = minute()?;
            attack(round)?;
            Ok(minute()? == began)
        };
        if is_made_in_time(0)? {
            return Ok(Attack {
                rounds: 1,
                is_of_one_minute: true,
            });
        }
        until("a minute begins", || {
            let begins = server.sql("SELECT extract(second FROM clock_timestamp()) < 5")?;
            Ok((begins == "t").then_some(()))
        })?;
        Ok(Attack {
            rounds: 2,
            is_of_one_minute: is_made_in_time(1)?,
        })
    }

    /// That there was no room for at least so many attempts, unless the machine was too slow.
    fn expect_without_role(&self, server: &Server, attempts: &str, least: u64) -> Result<()> {
        let many = sum(server, &format!("{attempts} AND role = '(many)'"))?;
        ensure(many >= least || !self.is_of_one_minute, || {
            format!("{many} without a role where {attempts}")
        })
    }
}

/// Connects and leaves when the server asks for a password.
fn leave(rig: &Rig, server: &Server, role: &str) -> Result<()> {
    rig.connect(server, role)?.0.request().map(drop)
}

/// Answers with a wrong token or password.
pub fn guess(rig: &Rig, server: &Server, role: &str) -> Result<()> {
    let (mut connection, _) = rig.connect(server, role)?;
    let outcome = match connection.request()? {
        Request::Sasl(_) => connection.scram(b"a guess", || Ok(()))?,
        _ => {
            connection.password(b"a guess")?;
            connection.outcome()?
        }
    };
    ensure(matches!(outcome, Outcome::Refused(_)), || {
        format!("{role}: {outcome:?}")
    })
}

/// Leaves as that many roles that do not exist.
fn invent(rig: &Rig, server: &Server, round: u64, names: u64) -> Result<()> {
    thread::scope(|scope| -> Result<()> {
        let clients: Vec<_> = (0..2)
            .map(|client| {
                scope.spawn(move || -> std::result::Result<(), String> {
                    for number in 0..names / 2 {
                        leave(rig, server, &format!("invented {round} {client} {number}"))
                            .map_err(|error| error.to_string())?;
                    }
                    Ok(())
                })
            })
            .collect();
        for client in clients {
            client.join().map_err(|_| "a client has failed")??;
        }
        Ok(())
    })
}

/// Roles that may not log in are known to everybody, `pg_monitor` for instance.
pub fn places_of_login_roles(rig: &Rig) -> Result<()> {
    let (server, _) = start(rig, "login-places")?;
    server.sql("CREATE ROLE clerk LOGIN PASSWORD 'x'")?;
    let [clerk, predefined, invented] =
        ["clerk", "pg_monitor", "invented"].map(|role| places(rig, &server, &[role.to_owned()]));
    let is_of_clerks = |places: &[usize]| places.iter().all(|place| *place < 512);
    let (predefined, invented) = (predefined?, invented?);
    ensure(
        is_of_clerks(&clerk?) && !is_of_clerks(&predefined) && !is_of_clerks(&invented),
        || format!("{predefined:?} {invented:?}"),
    )
}

/// The places in the aggregate table of attempts as these roles.
fn places(rig: &Rig, server: &Server, names: &[String]) -> Result<Vec<usize>> {
    const SLOT: usize = 1024;
    for name in names {
        guess(rig, server, name)?;
    }
    let mut slots = Vec::new();
    for file in fs::read_dir(server.data().join("aadauth/spool"))? {
        let path = file?.path();
        if path.extension().is_some_and(|kind| kind == "aggregate") {
            slots.extend(fs::read(path)?.chunks(SLOT).map(<[u8]>::to_vec));
        }
    }
    let place = |name: &String| {
        let role = format!("\"role\":\"{name}\"");
        let is_its = |slot: &Vec<u8>| String::from_utf8_lossy(slot).contains(&role);
        slots.iter().position(is_its)
    };
    let places: Option<Vec<usize>> = names.iter().map(place).collect();
    Ok(places.ok_or("one has no place")?)
}

/// So what somebody has learned of them is of no use.
pub fn other_places(rig: &Rig) -> Result<()> {
    let (mut server, _) = start(rig, "other-places")?;
    let names: Vec<String> = (0..10).map(|number| format!("placed {number}")).collect();
    let before = places(rig, &server, &names)?;
    server.restart()?;
    let after = places(rig, &server, &names)?;
    ensure(before != after, || format!("{before:?}"))
}

pub const HERE: &str = "client_address = '127.0.0.1'";

pub fn invented_roles(rig: &Rig) -> Result<()> {
    const NAMES: u64 = 440;
    const GUESSES: u64 = 10;
    let server = rig.server("hiding", |plan| {
        plan.unset("aadauth.audit_single_refusals")
            .set("aadauth.audit_local_sign_ins", "off")
            .hba(&["hostssl all other all scram-sha-256", OUR_LINES[0]])
    })?;
    rig.person(&server, "someone")?;
    server.sql(
        "CREATE ROLE local LOGIN PASSWORD 'right'; CREATE ROLE other LOGIN PASSWORD 'right'",
    )?;
    let attack = Attack::make(&server, |round| {
        invent(rig, &server, round, NAMES)?;
        for number in 0..GUESSES {
            guess(rig, &server, &format!("guessed {round} {number}"))?;
            for role in ["someone", "local", "other"] {
                guess(rig, &server, role)?;
                leave(rig, &server, role)?;
            }
        }
        Ok(())
    })?;
    // Each real role, as which clients guessed and left, by all ways in which the server learns of the role.
    for (role, reason) in [
        ("someone", "token-malformed"),
        ("someone", "no-password"),
        ("local", "password-failed"),
        ("local", "no-password"),
        ("other", "password-failed"),
        ("other", "interrupted"),
    ] {
        let attempts = format!("role = '{role}' AND reason = '{reason}' AND {HERE}");
        expect_sum(&server, &attempts, GUESSES * attack.rounds)?;
        expect_few_rows(&server, &attempts)?;
    }
    // Invented ones beyond the slots for them: by address and reason, the first of them one by one.
    for (pattern, reason, times) in [
        ("invented %", "no-password", NAMES),
        ("guessed %", "password-failed", GUESSES),
    ] {
        let roles = format!("(role LIKE '{pattern}' OR role = '(many)')");
        let attempts = format!("{roles} AND reason = '{reason}' AND {HERE}");
        expect_sum(&server, &attempts, times * attack.rounds)?;
        attack.expect_without_role(&server, &attempts, times / 3)?;
    }
    let guessed = "role LIKE 'guessed %' AND application_name <> ''";
    let single = sum(&server, guessed)?;
    ensure(single >= 5, || format!("{single} guesses have a row"))?;
    let rows = server.sql("SELECT count(*) FROM aadauth.sign_in_audit")?;
    ensure(rows.parse::<u64>()? <= 500 * attack.rounds, || {
        format!("{rows} rows")
    })
}

pub fn expired_token(rig: &Rig) -> Result<()> {
    let (server, person) = start(rig, "hiding-expired")?;
    let token = rig
        .user("alice@contoso.com")
        .object_id(person.object_id)
        .expires_in(-3600)
        .text()?;
    let seen = Ledger::default();
    seen.sign_in_often(rig, &server, "someone", &[token.as_str(); 4], 50)?;
    let stranger = rig.user("mallory@contoso.com").text()?;
    seen.sign_in_often(rig, &server, "someone", &[stranger.as_str(); 2], 50)?;
    let refused = |reason: &str, upn: &str| {
        format!("reason = '{reason}' AND upn = '{upn}' AND role = 'someone' AND {HERE}")
    };
    let expired = format!(
        "{} AND object_id = '{}' AND tenant_id IS NOT NULL",
        refused("expired", "alice@contoso.com"),
        person.object_id
    );
    let of_stranger = format!(
        "{} AND object_id IS NOT NULL",
        refused("object-id-mismatch", "mallory@contoso.com")
    );
    for (attempts, times) in [(&expired, 200), (&of_stranger, 100)] {
        expect_sum(&server, attempts, times)?;
        expect_few_rows(&server, attempts)?;
        let rows = server.sql(&format!(
            "SELECT count(*) <= 6 * count(DISTINCT date_trunc('minute', occurred_at))
             FROM aadauth.sign_in_audit WHERE {attempts}"
        ))?;
        ensure(rows == "t", || format!("many rows where {attempts}"))?;
    }
    let counts = format!("{expired} AND count > 1");
    let described = server.sql(&format!(
        "SELECT DISTINCT outcome, method, client_port, application_name, token_id, checks
         FROM aadauth.sign_in_audit WHERE {counts}"
    ))?;
    ensure(described == "refused|entra-token||||", || described.clone())?;
    let signature = server.sql(&format!(
        "SELECT outcome FROM aadauth.explain_sign_in(
             (SELECT event_id FROM aadauth.sign_in_audit WHERE {counts} LIMIT 1))
         WHERE checked = 'signature'"
    ))?;
    ensure(signature == "passed", || signature)
}

pub fn many_roles_of_one_token(rig: &Rig) -> Result<()> {
    const ROLES: u64 = 170;
    let (server, _) = start(rig, "hiding-verified")?;
    server.sql(&format!(
        "SELECT pgaadauth_create_principal_with_oid('role ' || n, gen_random_uuid()::text, 'user', false, false)
         FROM generate_series(1, {ROLES}) AS n"
    ))?;
    let stranger = rig.user("mallory@contoso.com").text()?;
    let attack = Attack::make(&server, |_| {
        for number in 1..=ROLES {
            rig.sign_in(&server, &format!("role {number}"), &stranger)?;
        }
        Ok(())
    })?;
    let attempts =
        format!("reason = 'object-id-mismatch' AND upn = 'mallory@contoso.com' AND {HERE}");
    expect_sum(&server, &attempts, ROLES * attack.rounds)?;
    attack.expect_without_role(&server, &attempts, 20)
}
