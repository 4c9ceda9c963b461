//! Roles without a label: SCRAM, on the same line, as stock PostgreSQL does it.

use pg_test::Result;
use pg_test::client::psql;
use pg_test::wire::{Connection, Outcome, Refusal, Request};

use crate::Test;
use crate::rig::{OUR_LINES, Rig, ensure};

pub const TESTS: &[Test] = &[
    ("scram_is_asked_for_on_the_same_line", scram_is_asked_for),
    ("the_right_password_signs_in", right_password),
    ("wrong_password_and_unknown_role_read_alike", read_alike),
    (
        "a_mapped_roles_password_is_of_no_use",
        mapped_role_with_password,
    ),
    ("an_md5_hash_is_refused_and_the_log_says_why", md5),
    ("a_line_without_password_refuses", refused_by_peer),
    ("entra_only_mode", entra_only),
    ("entra_off_leaves_passwords", entra_off),
    ("a_local_role_may_be_named_like_a_token", odd_names),
];

fn first_request(rig: &Rig, role: &str) -> Result<Request> {
    rig.connect(&rig.server, role)?.0.request()
}

fn scram_is_asked_for(rig: &Rig) -> Result<()> {
    for role in ["local", "nobody-of-this-name"] {
        let request = first_request(rig, role)?;
        let Request::Sasl(mechanisms) = &request else {
            return Err(format!("{role}: asked for {request:?}").into());
        };
        ensure(mechanisms.iter().any(|one| one == "SCRAM-SHA-256"), || {
            format!("{mechanisms:?}")
        })?;
    }
    let mapped = first_request(rig, "alice@contoso.com")?;
    ensure(mapped == Request::Password, || {
        format!("mapped: asked for {mapped:?}")
    })
}

fn right_password(rig: &Rig) -> Result<()> {
    let attempt = rig.attempt(&rig.server, "local", "local password");
    let printed = attempt.psql("", "SELECT session_user")?;
    ensure(printed.success && printed.output == "local", || {
        format!("{printed:?}")
    })?;
    let answer = attempt.tokio_postgres(&rig.tls, "SELECT session_user::text")?;
    ensure(answer == "local", || answer)
}

/// Tries a password against the server, by SCRAM.
fn scram(port: u16, rig: &Rig, role: &str) -> Result<(Vec<String>, Refusal)> {
    let parameters = [("user", role), ("database", "postgres")];
    let mut connection = Connection::open(port, Some(&rig.tls), &parameters)?;
    let Request::Sasl(mechanisms) = connection.request()? else {
        return Err("SCRAM was not asked for".into());
    };
    match connection.scram(b"wrong", || Ok(()))? {
        Outcome::Refused(refusal) => Ok((mechanisms, refusal)),
        other => Err(format!("{role}: {other:?}").into()),
    }
}

fn read_alike(rig: &Rig) -> Result<()> {
    let stock = rig.start_plan(
        rig.plan("stock")?
            .hba(&["hostssl all all all scram-sha-256"])
            .unset("shared_preload_libraries"),
    )?;
    stock.sql("CREATE ROLE local LOGIN PASSWORD 'local password'; CREATE ROLE bare LOGIN")?;
    rig.server.sql("CREATE ROLE bare LOGIN")?;
    for role in ["local", "bare", "nobody-of-this-name"] {
        let ours = scram(rig.server.port(), rig, role)?;
        let theirs = scram(stock.port(), rig, role)?;
        ensure(ours == theirs, || {
            format!("{role}: {ours:?}, stock: {theirs:?}")
        })?;
        let text = format!("password authentication failed for user \"{role}\"");
        ensure(ours.1.message == text && ours.1.sqlstate == "28P01", || {
            format!("{ours:?}")
        })?;
    }
    let (mut connection, mark) = rig.connect(&rig.server, "local")?;
    connection.request()?;
    connection.scram(b"wrong", || Ok(()))?;
    let event = rig.event(&rig.server, &mark)?;
    ensure(event["reason"] == "password-failed", || event.to_string())
}

fn mapped_role_with_password(rig: &Rig) -> Result<()> {
    let person = rig.person(&rig.server, "with_both")?;
    rig.server
        .sql("ALTER ROLE with_both PASSWORD 'a password'")?;
    rig.refused(&rig.server, "with_both", "a password", "token-malformed")?;
    let token = rig.token_of(&person)?;
    rig.accepted(&rig.server, "with_both", &token).map(drop)
}

fn md5(rig: &Rig) -> Result<()> {
    rig.server
        .sql("SET password_encryption = md5; CREATE ROLE old LOGIN PASSWORD 'old password'")?;
    let mark = rig.server.log()?.len();
    let printed = rig
        .attempt(&rig.server, "old", "old password")
        .psql("", "SELECT 1")?;
    ensure(!printed.success, || {
        "an MD5 hash let somebody in".to_owned()
    })?;
    ensure(
        printed
            .error
            .contains("password authentication failed for user \"old\""),
        || printed.error.clone(),
    )?;
    rig.server.wait_for_log(mark, "MD5").map(drop)
}

/// A role that was not asked for a password is not recorded with a wrong one.
fn refused_by_peer(rig: &Rig) -> Result<()> {
    let server = rig.server("peer-refuses", |plan| {
        plan.hba(&["local all other peer", OUR_LINES[0]])
    })?;
    server.sql("CREATE ROLE other LOGIN")?;
    let mark = "refused-by-peer";
    let string = format!(
        "host={} port={} user=other dbname=postgres application_name={mark}",
        server.socket().display(),
        server.port()
    );
    let printed = psql(&string, "", "SELECT 1")?;
    ensure(
        !printed.success && printed.error.contains("Peer authentication failed"),
        || format!("{printed:?}"),
    )?;
    let event = rig.event(&server, mark)?;
    ensure(
        event["outcome"] == "refused" && event["reason"] == "method-refused",
        || event.to_string(),
    )
}

fn entra_only(rig: &Rig) -> Result<()> {
    let mut server = rig.server("entra-only", |plan| {
        plan.hba(&[
            "hostssl all byline all scram-sha-256",
            "local all trusted trust",
            OUR_LINES[0],
        ])
    })?;
    let person = rig.person(&server, "someone")?;
    let token = rig.token_of(&person)?;
    server.sql(
        "CREATE ROLE local LOGIN PASSWORD 'secret'; CREATE ROLE byline LOGIN PASSWORD 'secret';
         CREATE ROLE trusted LOGIN",
    )?;
    for role in ["local", "byline"] {
        let printed = rig.attempt(&server, role, "secret").psql("", "SELECT 1")?;
        ensure(printed.success, || format!("{role} before: {printed:?}"))?;
    }
    server.configure(&[("aadauth.authentication", Some("entra"))])?;
    for role in ["local", "byline"] {
        let printed = rig
            .attempt(&server, role, "secret")
            .psql(&format!("application_name=only-{role}"), "SELECT 1")?;
        ensure(!printed.success, || {
            format!("{role} got in with a password")
        })?;
        ensure(
            printed.error.contains(&format!(
                "password authentication failed for user \"{role}\""
            )),
            || printed.error.clone(),
        )?;
        let event = rig.event(&server, &format!("only-{role}"))?;
        ensure(event["reason"] == "password-disabled", || event.to_string())?;
    }
    rig.accepted(&server, "someone", &token)?;
    // The break-glass lines: peer is how `sql` comes in.
    ensure(server.sql_in_new_session("SELECT 1")? == "1", || {
        "break-glass".to_owned()
    })?;
    let string = format!(
        "host={} port={} user=trusted dbname=postgres",
        server.socket().display(),
        server.port()
    );
    let printed = psql(&string, "", "SELECT 1")?;
    ensure(printed.success, || format!("{printed:?}"))
}

fn entra_off(rig: &Rig) -> Result<()> {
    let server = rig.server("entra-off", |plan| {
        plan.set("aadauth.authentication", "postgresql")
    })?;
    server.sql("CREATE ROLE local LOGIN PASSWORD 'secret'")?;
    let printed = rig
        .attempt(&server, "local", "secret")
        .psql("", "SELECT 1")?;
    ensure(printed.success, || format!("{printed:?}"))
}

fn odd_names(rig: &Rig) -> Result<()> {
    const NAME: &str = "eyJ.o'dd \"na\\me\"";
    rig.server.sql(&format!(
        "CREATE ROLE \"{}\" LOGIN PASSWORD 'secret'",
        NAME.replace('"', "\"\"")
    ))?;
    let printed = rig
        .attempt(&rig.server, NAME, "secret")
        .psql("", "SELECT session_user")?;
    ensure(printed.success && printed.output == NAME, || {
        format!("{printed:?}")
    })
}
