//! Lines of pg_hba.conf that are not aadauth's, and aadauth lines in other spellings.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use pg_test::client::psql;
use pg_test::route::Route;
use pg_test::wait::until;
use pg_test::wire::Request;
use pg_test::{Result, pam};
use uuid::Uuid;

use crate::Test;
use crate::fail_closed::stays_up;
use crate::rig::{OUR_LINES, Rig, answer, ensure};

pub const TESTS: &[Test] = &[
    ("connection_without_tls", connection_without_tls),
    ("trust_line", |rig| wrong_line(rig, "trust")),
    ("scram_line", |rig| wrong_line(rig, "scram-sha-256")),
    ("password_line", |rig| wrong_line(rig, "password")),
    ("peer_line", peer_line),
    ("line_of_another_pam_service", foreign_pam_line),
    (
        "our_service_spelled_otherwise",
        our_service_spelled_otherwise,
    ),
    ("ldap_line_in_entra_only_mode", ldap_in_entra_only_mode),
];

fn connection_without_tls(rig: &Rig) -> Result<()> {
    let server = rig.server("plain", |plan| {
        plan.hba(&["host all all all pam pamservice=aadauth-{major}"])
    })?;
    let person = rig.person(&server, "someone")?;
    let token = rig.token_of(&person)?;
    rig.accepted(&server, "someone", &token)?;
    stays_up(&server, || {
        let (connection, mark) =
            rig.connect_with(&server, "someone", None, &[("database", "postgres")])?;
        let sign_in = answer(connection, mark, &token)?;
        ensure(matches!(sign_in.request, Request::Refused(_)), || {
            format!("the token was asked for without TLS: {:?}", sign_in.request)
        })?;
        rig.expect_refused(&server, "someone", &sign_in, "tls-required")
    })?;
    // libpq tries both, if it is let.
    let mark = format!("prefer-{}", Uuid::new_v4().simple());
    let prefer = format!("sslmode=prefer application_name={mark}");
    let printed = rig
        .attempt(&server, "someone", "not a token")
        .psql(&prefer, "SELECT 1")?;
    ensure(!printed.success, || format!("{printed:?}"))?;
    let reasons = format!(
        "SELECT string_agg(reason, ' ' ORDER BY occurred_at) FROM aadauth.sign_in_audit
         WHERE aadauth.await_sign_ins() AND application_name = '{mark}'"
    );
    until("both tries are recorded", || {
        Ok((server.sql(&reasons)? == "token-malformed tls-required").then_some(()))
    })
}

/// A mapped role that comes by a line of another method, with whatever that method wants.
fn wrong_line(rig: &Rig, method: &str) -> Result<()> {
    let line = format!("hostssl all someone all {method}");
    let server = rig.server(&format!("line-{method}"), |plan| {
        plan.hba(&[&line, OUR_LINES[0]])
    })?;
    server.sql("CREATE ROLE other LOGIN")?;
    let person = rig.person(&server, "someone")?;
    server.sql("ALTER ROLE someone PASSWORD 'a password'")?;
    let token = rig.token_of(&person)?;
    stays_up(&server, || {
        for secret in ["a password", token.as_str()] {
            let mark = format!("line-{}", Uuid::new_v4().simple());
            let attempt = rig.attempt(&server, "someone", secret);
            let log = server.log_length()?;
            let printed = attempt.psql(&format!("application_name={mark}"), "SELECT 1")?;
            ensure(!printed.success, || format!("got in by a {method} line"))?;
            if secret == "a password" || method == "trust" {
                // In the server log, and not for the client.
                let line = match Route::of_environment()? {
                    Route::Pam => format!("hostssl all all all pam pamservice={}", pam::service()?),
                    Route::HbaFile => "hostssl all all all trust".to_owned(),
                };
                ensure(!printed.error.contains(&line), || printed.error.clone())?;
                server.wait_for_log(log, &line)?;
                let event = rig.event(&server, &mark)?;
                ensure(event["reason"] == "wrong-line", || event.to_string())?;
            }
        }
        Ok(())
    })
}

fn peer_line(rig: &Rig) -> Result<()> {
    // The tests run as root: the role that peer would let in.
    let server = rig.server("line-peer", |plan| {
        plan.hba(&["local all root peer", OUR_LINES[0]])
    })?;
    server.sql("CREATE ROLE root LOGIN")?;
    let string = format!(
        "host={} port={} user=root dbname=postgres",
        server.socket().display(),
        server.port()
    );
    let before = psql(&string, "", "SELECT 1")?;
    ensure(before.success, || format!("{before:?}"))?;
    server.sql(&format!(
        "SECURITY LABEL FOR pgaadauth ON ROLE root IS 'aadauth,oid={},type=user'",
        Uuid::new_v4()
    ))?;
    stays_up(&server, || {
        let mark = server.log_length()?;
        let after = psql(&string, "", "SELECT 1")?;
        ensure(!after.success, || format!("{after:?}"))?;
        let log = server.wait_for_log(mark, "Connections of mapped roles must match a ")?;
        // The tests add lines of their own above it.
        let line = log
            .lines()
            .find(|line| line.contains("Connection matched file "));
        ensure(
            line.is_some_and(|line| {
                // Whichever file is in force.
                line.contains("hba.conf\" line ") && line.ends_with(": \"local all root peer\"")
            }),
            || log.clone(),
        )
    })
}

fn foreign_pam_line(rig: &Rig) -> Result<()> {
    let directory = rig.pam_directory("foreign")?;
    directory.write(
        "foreign",
        "auth required pam_permit.so\naccount required pam_permit.so\n",
    )?;
    let server = rig.server("line-foreign", |plan| {
        plan.pam(&directory).hba(&[
            "hostssl all someone all pam pamservice=foreign",
            OUR_LINES[0],
        ])
    })?;
    let person = rig.person(&server, "someone")?;
    let token = rig.token_of(&person)?;
    stays_up(&server, || {
        rig.refused(&server, "someone", &token, "wrong-line")
    })
}

/// libpam finds the same file by these names, so that its success proves as little.
fn our_service_spelled_otherwise(rig: &Rig) -> Result<()> {
    let directory = rig.pam_directory("spelling")?;
    directory.write(
        &pam::service()?,
        "auth required pam_permit.so\naccount required pam_permit.so\n",
    )?;
    for (index, service) in [
        "AADAUTH-{major}",
        "/etc/pam.d/aadauth-{major}",
        "x/Aadauth-{major}",
    ]
    .iter()
    .enumerate()
    {
        let line = format!("hostssl all all all pam pamservice=\"{service}\"");
        let server = rig.server(&format!("spelling-{index}"), |plan| {
            plan.pam(&directory).hba(&[&line])
        })?;
        server.sql("CREATE ROLE local LOGIN PASSWORD 'secret'")?;
        stays_up(&server, || {
            rig.refused(&server, "local", "secret", "no-verdict")
        })?;
    }
    Ok(())
}

/// A right password must read like a wrong one where passwords are off.
fn ldap_in_entra_only_mode(rig: &Rig) -> Result<()> {
    let ldap = TcpListener::bind(("127.0.0.1", 0))?;
    let port = ldap.local_addr()?.port();
    std::thread::spawn(move || {
        for connection in ldap.incoming().flatten() {
            std::thread::spawn(move || bind_answers(connection));
        }
    });
    let line =
        format!("hostssl all local all ldap ldapserver=127.0.0.1 ldapport={port} ldapprefix=cn=");
    let mut server = rig.server("ldap", |plan| plan.hba(&[&line, OUR_LINES[0]]))?;
    server.sql("CREATE ROLE local LOGIN")?;
    rig.accepted(&server, "local", "right")?;
    let wrong = rig.sign_in(&server, "local", "wrong")?;
    let event = rig.event(&server, &wrong.mark)?;
    ensure(event["reason"] == "method-refused", || event.to_string())?;
    server.configure(&[("aadauth.authentication", Some("entra"))])?;
    for password in ["right", "wrong"] {
        rig.refused(&server, "local", password, "password-disabled")?;
    }
    Ok(())
}

/// Answers simple binds (RFC 4511, section 4.2) with the password "right" by success, others by
/// invalidCredentials.
fn bind_answers(mut connection: TcpStream) -> Result<()> {
    let mut request = [0; 512];
    loop {
        let length = connection.read(&mut request)?;
        // SEQUENCE, then the message id: one byte in so short a conversation.
        let &[0x30, _, 0x02, 0x01, message_id, 0x60, ..] = &request[..length] else {
            return Ok(());
        };
        let code = if request[..length].ends_with(b"right") {
            0
        } else {
            49
        };
        connection.write_all(&[
            0x30, 12, 0x02, 0x01, message_id, 0x61, 7, 0x0a, 1, code, 0x04, 0, 0x04, 0,
        ])?;
    }
}
