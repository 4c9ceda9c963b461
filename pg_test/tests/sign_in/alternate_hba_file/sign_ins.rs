//! What works on the lines of the alternate HBA file.

use std::fs;
use std::process::Command;

use pg_test::Result;
use pg_test::client::psql;
use pg_test::process::checked;
use pg_test::route::ALTERNATE_HBA_FILE;
use pg_test::server::Server;
use pg_test::wire::Request;

use super::{by_password, over_socket, recorded, server};
use crate::Test;
use crate::rig::{Rig, SignIn, answer, ensure};

pub const TESTS: &[Test] = &[
    ("tokens_and_passwords_sign_in", tokens_and_passwords),
    ("a_certificate_beside_the_token", certificate),
    ("who_signed_in_is_known", identity),
    ("replication_connections", replication),
    ("the_file_is_read_again", read_again),
    ("other_methods_are_as_ever", other_methods),
    ("an_attempt_leaves_one_event", one_event),
];

fn tokens_and_passwords(rig: &Rig) -> Result<()> {
    let server = server(rig, "second-works", |plan| plan)?;
    let person = rig.person(&server, "someone")?;
    let token = rig.token_of(&person)?;
    server.sql("CREATE ROLE local LOGIN PASSWORD 'secret'")?;
    for (role, secret) in [("someone", token.as_str()), ("local", "secret")] {
        let attempt = rig.attempt(&server, role, secret);
        let printed = attempt.psql("", "SELECT session_user")?;
        ensure(printed.success && printed.output == role, || {
            format!("{printed:?}")
        })?;
        let wrong = rig.attempt(&server, role, "wrong").psql("", "SELECT 1")?;
        ensure(!wrong.success, || format!("{role} got in with anything"))?;
        let path = server.socket().display();
        let string = format!(
            "host={path} port={} user={role} dbname=postgres",
            server.port()
        );
        let printed = psql(&string, secret, "SELECT session_user")?;
        ensure(printed.success && printed.output == role, || {
            format!("over the socket: {printed:?}")
        })?;
        let none = psql(&string, "", "SELECT 1")?;
        ensure(!none.success, || format!("{role} got in with nothing"))?;
    }
    let answer = rig
        .attempt(&server, "local", "secret")
        .tokio_postgres(&rig.tls, "SELECT session_user::text")?;
    ensure(answer == "local", || answer)
}

fn identity(rig: &Rig) -> Result<()> {
    let server = server(rig, "second-identity", |plan| plan)?;
    let person = rig.person(&server, "someone")?;
    server.sql("CREATE ROLE local LOGIN PASSWORD 'secret'")?;
    let mark = server.log_length()?;
    let token = rig.token_of(&person)?;
    let attempt = rig.attempt(&server, "someone", &token);
    let known = "SELECT object_id FROM aadauth.current_principal()";
    let printed = attempt.psql("", known)?;
    let object_id = person.object_id.to_string();
    ensure(printed.output == object_id, || format!("{printed:?}"))?;
    server.wait_for_log(
        mark,
        &format!("role=\"someone\" UPN=alice@contoso.com oid={object_id}"),
    )?;
    if server.sql("SELECT current_setting('server_version_num')::int >= 160000")? == "t" {
        let user = "SELECT system_user";
        let printed = attempt.psql("", user)?;
        ensure(printed.output == format!("password:{object_id}"), || {
            format!("{printed:?}")
        })?;
        let printed = rig.attempt(&server, "local", "secret").psql("", user)?;
        ensure(printed.output == "scram-sha-256:local", || {
            format!("{printed:?}")
        })?;
    }
    let sign_in = rig.accepted(&server, "someone", &token)?;
    let event = rig.event(&server, &sign_in.mark)?;
    ensure(event["method"] == "entra-token", || event.to_string())?;
    let sign_in = by_password(rig, &server, "local", "secret")?;
    let event = rig.event(&server, &sign_in.mark)?;
    ensure(event["method"] == "password", || event.to_string())
}

fn replication(rig: &Rig) -> Result<()> {
    let server = server(rig, "second-replication", |plan| plan)?;
    let person = rig.person(&server, "someone")?;
    server.sql(
        "ALTER ROLE someone REPLICATION; CREATE ROLE local LOGIN REPLICATION PASSWORD 'secret'",
    )?;
    let token = rig.token_of(&person)?;
    for replication in ["replication=true", "replication=database"] {
        for (role, secret) in [("someone", token.as_str()), ("local", "secret")] {
            let attempt = |secret| {
                rig.attempt(&server, role, secret)
                    .psql(replication, "IDENTIFY_SYSTEM")
            };
            let printed = attempt(secret)?;
            ensure(printed.success, || format!("{replication}: {printed:?}"))?;
            let printed = attempt("wrong")?;
            ensure(!printed.success, || {
                format!("{replication}: {role} got in with anything")
            })?;
        }
    }
    Ok(())
}

/// A line that is added counts after a reload, one that can't be read leaves the old ones in force, and hba_file in
/// postgresql.conf, as Debian has it, changes nothing.
fn read_again(rig: &Rig) -> Result<()> {
    let mut server = server(rig, "second-again", |plan| plan)?;
    let own = server.data().join("pg_hba.conf");
    server.configure(&[("hba_file", Some(&own.display().to_string()))])?;
    rig.await_keys(&server)?;
    let person = rig.person(&server, "someone")?;
    let token = rig.token_of(&person)?;
    let works = |server: &Server| rig.accepted(server, "someone", &token).map(drop);
    works(&server)?;
    let file = server.sql("SHOW hba_file")?;
    ensure(file.ends_with(ALTERNATE_HBA_FILE), || file)?;
    server.set_hba(&[
        "hostssl all someone all reject",
        "hostssl all all all trust",
    ])?;
    let sign_in = rig.sign_in(&server, "someone", &token)?;
    ensure(
        sign_in
            .outcome
            .refusal()
            .is_some_and(|refusal| refusal.message.contains("pg_hba.conf rejects connection")),
        || format!("{:?}", sign_in.outcome),
    )?;
    server.set_hba(&["hostssl all all all trust"])?;
    works(&server)?;
    let mark = server.log_length()?;
    server.set_hba(&["hostssl all someone all reject", "nonsense"])?;
    server.wait_for_log(mark, "was not reloaded")?;
    works(&server)?;
    rig.refused(&server, "someone", "not a token", "token-malformed")
}

fn other_methods(rig: &Rig) -> Result<()> {
    let server = rig.server("second-methods", |plan| {
        plan.route(pg_test::route::Route::HbaFile).hba(&[
            "hostssl all byline all scram-sha-256",
            "hostssl all taken all scram-sha-256",
            "local all root peer",
            "host all plain all trust",
            "hostssl all all all trust",
        ])
    })?;
    let person = rig.person(&server, "taken")?;
    server.sql(
        "CREATE ROLE byline LOGIN PASSWORD 'secret'; CREATE ROLE root LOGIN;
         ALTER ROLE taken PASSWORD 'secret'",
    )?;
    let printed = rig
        .attempt(&server, "byline", "secret")
        .psql("", "SELECT 1")?;
    ensure(printed.success, || format!("{printed:?}"))?;
    // The tests run as root.
    let path = server.socket().display();
    let string = format!(
        "host={path} port={} user=root dbname=postgres",
        server.port()
    );
    let printed = psql(&string, "", "SELECT 1")?;
    ensure(printed.success, || format!("{printed:?}"))?;
    let mark = server.log_length()?;
    let printed = rig
        .attempt(&server, "taken", "secret")
        .psql("", "SELECT 1")?;
    // In the server log, and not for the client.
    let line = "hostssl all all all trust";
    ensure(!printed.success && !printed.error.contains(line), || {
        format!("{printed:?}")
    })?;
    server.wait_for_log(mark, &format!("aadauth.hba_file, such as: {line}"))?;
    // A token is accepted only over TLS, whatever the line is for.
    server.sql("DROP ROLE taken")?;
    rig.map(&server, "plain", &person.object_id.to_string(), "user")?;
    let (connection, mark) =
        rig.connect_with(&server, "plain", None, &[("database", "postgres")])?;
    let sign_in = answer(connection, mark, &rig.token_of(&person)?)?;
    ensure(matches!(sign_in.request, Request::Refused(_)), || {
        format!("asked for {:?} without TLS", sign_in.request)
    })?;
    rig.expect_refused(&server, "plain", &sign_in, "tls-required")
}

/// A trust line may want a certificate as well: both are needed, neither is enough.
fn certificate(rig: &Rig) -> Result<()> {
    let place = rig.run().for_server("second-certificate-keys")?;
    let issue = |name: &str| -> Result<String> {
        let [key, certificate] = ["key", "pem"].map(|kind| place.join(name).with_extension(kind));
        checked(
            Command::new("openssl")
                .args(["req", "-x509", "-newkey", "ec", "-pkeyopt"])
                .args(["ec_paramgen_curve:prime256v1", "-nodes", "-days", "1"])
                .args(["-subj", &format!("/CN={name}"), "-keyout"])
                .arg(&key)
                .arg("-out")
                .arg(&certificate),
        )?;
        Ok(format!(
            "sslcert={} sslkey={}",
            certificate.display(),
            key.display()
        ))
    };
    let (own, others) = (issue("someone")?, issue("another")?);
    let authorities = place.join("authorities.pem");
    let both = ["someone.pem", "another.pem"].map(|name| fs::read_to_string(place.join(name)));
    let [first, second] = both;
    fs::write(&authorities, first? + &second?)?;
    let server = rig.server("second-certificate", |plan| {
        plan.route(pg_test::route::Route::HbaFile)
            .hba(&["hostssl all all all trust clientcert=verify-full"])
            .set("ssl_ca_file", &authorities.display().to_string())
    })?;
    let token = rig.token_of(&rig.person(&server, "someone")?)?;
    for (secret, files, expected) in [
        (token.as_str(), own.as_str(), None),
        ("no token", &own, Some("has invalid format")),
        (&token, "", Some("requires a valid client certificate")),
        (&token, &others, Some("failed for user \"someone\"")),
    ] {
        let printed = rig
            .attempt(&server, "someone", secret)
            .psql(files, "SELECT session_user")?;
        let is_so = match expected {
            None => printed.output == "someone",
            Some(error) => !printed.success && printed.error.contains(error),
        };
        ensure(is_so, || format!("{files}: {printed:?}"))?;
    }
    Ok(())
}

fn one_event(rig: &Rig) -> Result<()> {
    let mut server = server(rig, "second-events", |plan| plan)?;
    let person = rig.person(&server, "someone")?;
    server.sql("CREATE ROLE local LOGIN PASSWORD 'secret'")?;
    let token = rig.token_of(&person)?;
    let mut marks = Vec::new();
    let mut seen = |sign_in: SignIn, outcome: &str, reason: &str| {
        recorded(rig, &server, &sign_in.mark, outcome, reason)?;
        marks.push(sign_in.mark);
        Ok::<(), pg_test::Error>(())
    };
    seen(
        rig.accepted(&server, "someone", &token)?,
        "authenticated",
        "",
    )?;
    seen(
        by_password(rig, &server, "local", "secret")?,
        "authenticated",
        "",
    )?;
    seen(
        over_socket(&server, "someone", &token)?,
        "authenticated",
        "",
    )?;
    seen(
        over_socket(&server, "someone", "x")?,
        "refused",
        "token-malformed",
    )?;
    for role in ["local", "nobody"] {
        let sign_in = by_password(rig, &server, role, "wrong")?;
        seen(sign_in, "refused", "password-failed")?;
    }
    for (role, reason) in [("someone", "no-password"), ("local", "no-password")] {
        let (mut connection, mark) = rig.connect(&server, role)?;
        connection.request()?;
        drop(connection);
        let event = rig.event(&server, &mark)?;
        ensure(
            event["outcome"] == "interrupted" && event["reason"] == reason,
            || format!("{role}: {event}"),
        )?;
        marks.push(mark);
    }
    server.configure(&[("authentication_timeout", Some("3s"))])?;
    for role in ["someone", "local"] {
        let (mut connection, mark) = rig.connect(&server, role)?;
        connection.request()?;
        let outcome = connection.outcome()?;
        ensure(!outcome.is_in(), || format!("{role}: {outcome:?}"))?;
        recorded(rig, &server, &mark, "interrupted", "interrupted")?;
        marks.push(mark);
    }
    server.configure(&[("authentication_timeout", None)])?;
    // What was appended before this is in the table with it.
    let last = rig.accepted(&server, "someone", &token)?;
    rig.event(&server, &last.mark)?;
    for mark in marks {
        rig.event(&server, &mark)?;
    }
    Ok(())
}
