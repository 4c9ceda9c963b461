//! Whatever is missing or broken, a `trust` line lets nobody in without a credential.

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;

use pg_test::Result;
use pg_test::place::give_to_server;
use pg_test::route::ALTERNATE_HBA_FILE;
use pg_test::server::Server;
use pg_test::wire::Request;

use super::{by_password, over_socket, recorded, server};
use crate::Test;
use crate::fail_closed::stays_up;
use crate::rig::{Rig, SignIn, answer, ensure};

pub const TESTS: &[Test] = &[
    ("library_not_preloaded", not_preloaded),
    ("the_file_is_missing", missing),
    ("the_file_is_the_servers_own", servers_own),
    ("the_setting_cannot_be_changed_by_clients", by_clients),
    ("a_role_that_loses_its_label", unlabeled),
    ("a_role_dropped_and_created_again", created_again),
    ("at_the_prompt", at_the_prompt),
    ("a_role_that_is_not_there", unknown_role),
    ("a_role_without_password", without_password),
    ("entra_only_mode", entra_only),
    ("entra_off", entra_off),
    ("lines_that_are_included", included),
];

fn is_refused(what: &str, sign_in: &SignIn) -> Result<()> {
    ensure(sign_in.outcome.refusal().is_some(), || {
        format!("{what}: {:?}, then {:?}", sign_in.request, sign_in.outcome)
    })
}

/// The server's own file rejects, over every transport, before anything is asked for.
fn not_preloaded(rig: &Rig) -> Result<()> {
    let mut server = server(rig, "second-absent", |plan| plan)?;
    let person = rig.person(&server, "someone")?;
    server.sql(
        "ALTER ROLE someone REPLICATION; CREATE ROLE local LOGIN PASSWORD 'secret';
         CREATE ROLE boss SUPERUSER LOGIN",
    )?;
    let token = rig.token_of(&person)?;
    rig.accepted(&server, "someone", &token)?;
    server.configure(&[("shared_preload_libraries", None)])?;
    server.restart()?;
    stays_up(&server, || {
        for role in ["someone", "local", "boss", "nobody"] {
            for more in [
                &[("database", "postgres")][..],
                &[
                    ("database", "postgres"),
                    ("options", "-c session_preload_libraries=aadauth"),
                ],
                &[
                    ("database", "postgres"),
                    ("options", "-c aadauth.hba_file=alternate_hba.conf"),
                ],
                &[("replication", "true")],
                &[("database", "postgres"), ("replication", "database")],
            ] {
                let (connection, mark) = rig.connect_with(&server, role, Some(&rig.tls), more)?;
                let sign_in = answer(connection, mark, &token)?;
                ensure(matches!(sign_in.request, Request::Refused(_)), || {
                    format!("{role} {more:?}: {:?}", sign_in.request)
                })?;
            }
            is_refused(role, &over_socket(&server, role, &token)?)?;
        }
        Ok(())
    })
}

fn missing(rig: &Rig) -> Result<()> {
    let mut server = server(rig, "second-missing", |plan| plan)?;
    fs::remove_file(server.data().join(ALTERNATE_HBA_FILE))?;
    let mark = server.log_length()?;
    // Once it runs, the lines that were read stay.
    let loaded = server.sql("SELECT pg_reload_conf()")?;
    ensure(loaded == "t", || loaded)?;
    server.wait_for_log(mark, "was not reloaded")?;
    is_refused("reloaded", &by_password(rig, &server, "nobody", "x")?)?;
    server.stop()?;
    let error = match server.start() {
        Ok(()) => return Err("the server started without its alternate HBA file".into()),
        Err(error) => error.to_string(),
    };
    for text in [
        "could not open file ",
        ALTERNATE_HBA_FILE,
        "The server does not start without it",
        "could not load",
    ] {
        ensure(error.contains(text), || error.clone())?;
    }
    Ok(())
}

fn servers_own(rig: &Rig) -> Result<()> {
    let mut server = server(rig, "second-own", |plan| plan)?;
    server.stop()?;
    let data = server.data();
    symlink(data.join("pg_hba.conf"), data.join("linked.conf"))?;
    fs::hard_link(data.join("pg_hba.conf"), data.join("hard.conf"))?;
    let elsewhere = data.join("elsewhere.conf");
    fs::copy(data.join("pg_hba.conf"), &elsewhere)?;
    give_to_server(&elsewhere)?;
    let elsewhere = elsewhere.display().to_string();
    // The last is what a server reads whose postgresql.conf was left behind.
    for (own, name) in [
        ("pg_hba.conf", "pg_hba.conf"),
        ("pg_hba.conf", "./pg_hba.conf"),
        ("pg_hba.conf", "linked.conf"),
        ("pg_hba.conf", "hard.conf"),
        (elsewhere.as_str(), "pg_hba.conf"),
    ] {
        let mut settings = fs::OpenOptions::new()
            .append(true)
            .open(data.join("postgresql.conf"))?;
        writeln!(settings, "aadauth.hba_file = '{name}'")?;
        writeln!(settings, "hba_file = '{}'", data.join(own).display())?;
        match server.start() {
            Ok(()) => return Err(format!("the server started with {name}").into()),
            Err(error) => ensure(
                error
                    .to_string()
                    .contains("aadauth.hba_file names the server's own pg_hba.conf"),
                || error.to_string(),
            )?,
        }
    }
    Ok(())
}

fn by_clients(rig: &Rig) -> Result<()> {
    let server = server(rig, "second-clients", |plan| plan)?;
    let person = rig.person(&server, "someone")?;
    let token = rig.token_of(&person)?;
    server.sql("CREATE ROLE local LOGIN; CREATE ROLE boss SUPERUSER LOGIN")?;
    stays_up(&server, || {
        for option in [
            "-c aadauth.hba_file=",
            "-c aadauth.hba_file=pg_hba.conf",
            "-c hba_file=pg_hba.conf",
            "-c aadauth.authentication=postgresql",
        ] {
            for role in ["someone", "local", "boss"] {
                let more = [("database", "postgres"), ("options", option)];
                let (mut connection, _) = rig.connect_with(&server, role, Some(&rig.tls), &more)?;
                let asked = match connection.request()? {
                    Request::Password if role == "someone" => true,
                    Request::Sasl(_) => role != "someone",
                    _ => false,
                };
                ensure(asked, || format!("{role} with {option} was not asked"))?;
            }
        }
        rig.accepted(&server, "someone", &token).map(drop)
    })
}

fn unlabeled(rig: &Rig) -> Result<()> {
    let server = server(rig, "second-unlabeled", |plan| plan)?;
    let person = rig.person(&server, "someone")?;
    let token = rig.token_of(&person)?;
    rig.accepted(&server, "someone", &token)?;
    server.sql("SECURITY LABEL FOR pgaadauth ON ROLE someone IS NULL")?;
    stays_up(&server, || no_password_no_entry(rig, &server, "someone"))
}

fn created_again(rig: &Rig) -> Result<()> {
    let server = server(rig, "second-created", |plan| plan)?;
    let person = rig.person(&server, "someone")?;
    let token = rig.token_of(&person)?;
    rig.accepted(&server, "someone", &token)?;
    server.sql("DROP ROLE someone; CREATE ROLE someone SUPERUSER LOGIN")?;
    stays_up(&server, || no_password_no_entry(rig, &server, "someone"))
}

/// Asked for a password that it doesn't have, by TLS and by the socket.
fn no_password_no_entry(rig: &Rig, server: &Server, role: &str) -> Result<()> {
    for password in ["", "x"] {
        let sign_in = by_password(rig, server, role, password)?;
        is_refused(role, &sign_in)?;
        recorded(rig, server, &sign_in.mark, "refused", "password-failed")?;
    }
    match over_socket(server, role, "x") {
        Ok(sign_in) => Err(format!("{:?}, then {:?}", sign_in.request, sign_in.outcome).into()),
        // The rig gives tokens, and it was SCRAM that was asked for.
        Err(error) => ensure(error.to_string().contains("Sasl"), || error.to_string()),
    }
}

fn at_the_prompt(rig: &Rig) -> Result<()> {
    let server = server(rig, "second-prompt", |plan| plan)?;
    for (role, change) in [
        ("a", "SECURITY LABEL FOR pgaadauth ON ROLE a IS NULL"),
        ("b", "DROP ROLE b"),
        ("c", "DROP ROLE c; CREATE ROLE c LOGIN SUPERUSER"),
        ("d", "ALTER ROLE d NOLOGIN"),
    ] {
        let person = rig.person(&server, role)?;
        let token = rig.token_of(&person)?;
        let (mut connection, mark) = rig.connect(&server, role)?;
        let request = connection.request()?;
        ensure(request == Request::Password, || format!("{request:?}"))?;
        server.sql(change)?;
        connection.password(token.as_bytes())?;
        let outcome = connection.outcome()?;
        let sign_in = SignIn {
            request,
            outcome,
            mark,
        };
        rig.expect_refused(&server, role, &sign_in, "mapping-changed")?;
    }
    server.sql("CREATE ROLE e LOGIN PASSWORD 'secret'")?;
    let (mut connection, mark) = rig.connect(&server, "e")?;
    let request = connection.request()?;
    let outcome = connection.scram(b"secret", || {
        rig.map(
            &server,
            "e2",
            "e15e0000-0000-4000-8000-0000000000e2",
            "user",
        )?;
        server
            .sql("DROP ROLE e; ALTER ROLE e2 RENAME TO e")
            .map(drop)
    })?;
    let sign_in = SignIn {
        request,
        outcome,
        mark,
    };
    rig.expect_refused(&server, "e", &sign_in, "mapping-changed")
}

fn unknown_role(rig: &Rig) -> Result<()> {
    let server = server(rig, "second-unknown", |plan| plan)?;
    server.sql("CREATE ROLE local LOGIN PASSWORD 'secret'")?;
    let read = |role| -> Result<_> {
        let sign_in = by_password(rig, &server, role, "wrong")?;
        recorded(rig, &server, &sign_in.mark, "refused", "password-failed")?;
        let refusal = sign_in.outcome.refusal().ok_or("in")?.clone();
        let message = refusal.message.replace(role, "x");
        Ok((sign_in.request, message, refusal.sqlstate, refusal.hint))
    };
    let (known, unknown) = (read("local")?, read("nobody-of-this-name")?);
    ensure(known == unknown, || format!("{known:?}, {unknown:?}"))
}

fn without_password(rig: &Rig) -> Result<()> {
    let server = server(rig, "second-bare", |plan| plan)?;
    server.sql(
        "CREATE ROLE bare LOGIN; CREATE ROLE boss LOGIN SUPERUSER REPLICATION;
         CREATE ROLE \"group\" NOLOGIN PASSWORD 'x'",
    )?;
    stays_up(&server, || {
        for role in ["bare", "boss", "postgres"] {
            is_refused(role, &by_password(rig, &server, role, "")?)?;
        }
        let sign_in = by_password(rig, &server, "group", "x")?;
        is_refused("group", &sign_in)?;
        let more = [("replication", "true")];
        let (mut connection, _) = rig.connect_with(&server, "boss", Some(&rig.tls), &more)?;
        let request = connection.request()?;
        ensure(matches!(request, Request::Sasl(_)), || {
            format!("replication was not asked: {request:?}")
        })
    })
}

/// No password, and no trust, not even over the socket: that is no break-glass line here.
fn entra_only(rig: &Rig) -> Result<()> {
    let server = server(rig, "second-only", |plan| {
        plan.set("aadauth.authentication", "entra")
    })?;
    let person = rig.person(&server, "someone")?;
    let token = rig.token_of(&person)?;
    server.sql("CREATE ROLE local LOGIN PASSWORD 'secret'")?;
    stays_up(&server, || {
        rig.accepted(&server, "someone", &token)?;
        for sign_in in [
            by_password(rig, &server, "local", "secret")?,
            over_socket(&server, "local", "secret")?,
        ] {
            ensure(matches!(sign_in.request, Request::Refused(_)), || {
                format!("asked for {:?}", sign_in.request)
            })?;
            rig.expect_refused(&server, "local", &sign_in, "password-disabled")?;
        }
        Ok(())
    })
}

fn entra_off(rig: &Rig) -> Result<()> {
    let server = server(rig, "second-off", |plan| {
        plan.set("aadauth.authentication", "postgresql")
    })?;
    let person = rig.person(&server, "someone")?;
    server.sql("CREATE ROLE local LOGIN PASSWORD 'secret'; CREATE ROLE bare LOGIN")?;
    let sign_in = by_password(rig, &server, "local", "secret")?;
    ensure(sign_in.outcome.is_in(), || format!("{:?}", sign_in.outcome))?;
    is_refused("bare", &by_password(rig, &server, "bare", "")?)?;
    let token = rig.token_of(&person)?;
    rig.refused(&server, "someone", &token, "entra-disabled")
}

/// From PostgreSQL 16 on, a line may stand in a file that the second one includes.
fn included(rig: &Rig) -> Result<()> {
    let mut server = server(rig, "second-included", |plan| plan)?;
    if server.sql("SELECT current_setting('server_version_num')::int < 160000")? == "t" {
        return Ok(());
    }
    let file = server.data().join("more.conf");
    fs::write(&file, "hostssl all all all trust\n")?;
    give_to_server(&file)?;
    server.set_hba(&["include more.conf"])?;
    let person = rig.person(&server, "someone")?;
    let token = rig.token_of(&person)?;
    server.sql("CREATE ROLE bare LOGIN SUPERUSER")?;
    rig.accepted(&server, "someone", &token)?;
    is_refused("bare", &by_password(rig, &server, "bare", "")?)
}
