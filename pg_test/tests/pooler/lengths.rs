//! Long tokens: what each PgBouncer passes to the module, and from its pool to the server.

use pg_test::Result;
use pg_test::rig::{Person, Rig, ensure};

use crate::Test;
use crate::pgbouncer::{Pooled, SESSION, TRANSACTION};
use crate::version::{LONG_TOKENS, is_at_least};

pub const TESTS: &[Test] = &[
    ("what_fits_is_passed_whole", whole),
    ("what_does_not_fit_is_refused", too_long),
];

/// The longest that PgBouncer 1.18 passes, the longest of 1.26 and of PostgreSQL, and those between.
const LENGTHS: [usize; 7] = [1_700, 2_047, 2_048, 4_080, 4_095, 16_000, LONGEST];
const SHORT: usize = 2_047;
const LONGEST: usize = 65_530;

/// What the module says of a token that PgBouncer has cut, and PgBouncer of a message that it does not read.
const CUT: &str = "token-cut-by-pooler: PgBouncer before 1.26";
const NOT_READ: &str = "client sent partial pkt in startup phase";

/// The module, the server's check and the sign-in of PgBouncer's connection take it: the role has no connection before.
fn whole(rig: &Rig) -> Result<()> {
    let pooled = start(rig, "pooled-lengths")?;
    let passed: Vec<_> = LENGTHS
        .into_iter()
        .filter(|length| is_at_least(LONG_TOKENS) || *length <= SHORT)
        .collect();
    for (number, length) in passed.iter().enumerate() {
        let person = rig.person(&pooled.server, &format!("pooled_{number}"))?;
        let token = token_of_length(rig, &person, *length)?;
        for mode in [SESSION, TRANSACTION] {
            let user = pooled.query(mode, &person.role, &token, "SELECT current_user")?;
            ensure(user == person.role, || user)?;
        }
        let connections = pooled.server_connections(&person.role)?;
        ensure(connections == 2, || format!("{length}: {connections}"))?;
    }
    let log = pooled.log()?;
    ensure(!log.contains("token-cut-by-pooler"), || {
        "a token that fits is said to be cut".to_owned()
    })
}

/// By the server if PgBouncer has cut it, or by PgBouncer; also beside a connection of the role that waits in the pool.
fn too_long(rig: &Rig) -> Result<()> {
    let pooled = start(rig, "pooled-too-long")?;
    let person = rig.person(&pooled.server, "pooled_person")?;
    let good = rig.token_of(&person)?;
    let cases: &[(usize, &str)] = if is_at_least(LONG_TOKENS) {
        // Cut by one byte, which is not what the module knows.
        &[
            (LONGEST + 1, "refused: role"),
            (LONGEST + 400, "refused: role"),
        ]
    } else {
        &[
            (2_048, CUT),
            (4_080, CUT),
            (4_095, NOT_READ),
            (16_000, NOT_READ),
            (LONGEST, NOT_READ),
            (LONGEST + 1, NOT_READ),
        ]
    };
    for (length, expected) in cases {
        pooled.query(SESSION, &person.role, &good, "SELECT 1")?;
        let before = pooled.log()?.len();
        let token = token_of_length(rig, &person, *length)?;
        // PgBouncer may hang up before it has read everything.
        let sign_in = pooled.sign_in(SESSION, &person.role, &token);
        let is_in = sign_in.is_ok_and(|sign_in| sign_in.outcome.is_in());
        ensure(!is_in, || format!("{length} bytes were let in"))?;
        let log = pooled.log()?;
        ensure(log[before..].contains(expected), || {
            format!("{length} bytes: {expected:?} is not in\n{}", &log[before..])
        })?;
    }
    Ok(())
}

fn start<'a>(rig: &'a Rig, name: &str) -> Result<Pooled<'a>> {
    Pooled::start(rig, name, |plan| {
        plan.set("aadauth.max_token_size", &LONGEST.to_string())
    })
}

/// A good token of exactly that length. Not every length is possible with the same header: base64 takes three bytes at a
/// time.
fn token_of_length(rig: &Rig, person: &Person, length: usize) -> Result<String> {
    for padding in ["", "x", "xx", "xxx"] {
        let token = rig
            .user("alice@contoso.com")
            .object_id(person.object_id)
            .header("padding", padding)
            .size(length)
            .text()?;
        if token.len() == length {
            return Ok(token);
        }
    }
    Err(format!("no token of {length} bytes").into())
}
