//! Whatever is missing or broken, nobody gets in who should not, and the server stays up.

use std::fs;
use std::path::PathBuf;

use pg_test::Result;
use pg_test::client::psql;
use pg_test::pam::{Service, lines_naming};
use pg_test::place::give_to_server;
use pg_test::server::{Server, free_port};
use pg_test::wait::until;
use pg_test::wire::{Outcome, Request};
use uuid::Uuid;

use crate::Test;
use crate::rig::{OUR_LINES, Rig, answer, ensure, faulty_library, installed_library};

pub const TESTS: &[Test] = &[
    ("library_not_preloaded", library_not_preloaded),
    ("pam_file_missing", pam_file_missing),
    (
        "pam_file_names_another_module",
        pam_file_names_another_module,
    ),
    (
        "pam_file_lets_another_module_decide",
        pam_file_lets_another_decide,
    ),
    (
        "pam_file_without_account_line",
        pam_file_without_account_line,
    ),
    ("no_tenant", |rig| {
        unconfigured(
            rig,
            "no-tenant",
            "aadauth.tenant_id",
            "tenant-not-configured",
        )
    }),
    ("no_audience", |rig| {
        unconfigured(
            rig,
            "no-audience",
            "aadauth.audience",
            "audience-not-configured",
        )
    }),
    ("no_keys", no_keys),
    ("worker_not_running", worker_not_running),
    ("damaged_label", damaged_label),
    ("labels_that_disagree", labels_that_disagree),
    ("one_label_missing", one_label_missing),
    ("a_panic_in_the_decision", |rig| injected(rig, "panic")),
    ("an_error_in_the_decision", |rig| injected(rig, "error")),
    ("connection_without_tls", connection_without_tls),
    ("trust_line", |rig| wrong_line(rig, "trust")),
    ("scram_line", |rig| wrong_line(rig, "scram-sha-256")),
    ("password_line", |rig| wrong_line(rig, "password")),
    ("peer_line", peer_line),
    ("line_of_another_pam_service", foreign_pam_line),
    ("library_deleted", library_deleted),
];

/// Runs what a test does, and makes sure that the server went through it without a crash.
fn stays_up(server: &Server, test: impl FnOnce() -> Result<()>) -> Result<()> {
    let postmaster = server.postmaster()?;
    let mark = server.log()?.len();
    test()?;
    ensure(server.sql("SELECT 1")? == "1", || {
        "the server is gone".to_owned()
    })?;
    ensure(server.postmaster()? == postmaster, || {
        "another postmaster".to_owned()
    })?;
    let log = server.log_since(mark)?;
    ensure(!log.contains("terminated by signal"), || {
        format!("a backend crashed:\n{log}")
    })
}

fn library_not_preloaded(rig: &Rig) -> Result<()> {
    let mut server = rig.server("not-preloaded", |plan| plan)?;
    let person = rig.person(&server, "someone")?;
    server.sql("ALTER ROLE someone REPLICATION; CREATE ROLE local LOGIN PASSWORD 'secret'")?;
    let token = rig.token_of(&person)?;
    rig.accepted(&server, "someone", &token)?;
    server.configure(&[("shared_preload_libraries", None)])?;
    server.restart()?;
    stays_up(&server, || {
        // Refused before the token is asked for: it stays with the client.
        for more in [
            &[("database", "postgres")][..],
            &[
                ("database", "postgres"),
                ("options", "-c session_preload_libraries=aadauth"),
            ],
            &[
                ("database", "postgres"),
                ("options", "-c local_preload_libraries=aadauth"),
            ],
            &[
                ("database", "postgres"),
                ("options", "-c shared_preload_libraries=aadauth"),
            ],
            &[("replication", "true")],
            &[("database", "postgres"), ("replication", "database")],
        ] {
            let (connection, mark) = rig.connect_with(&server, "someone", Some(&rig.tls), more)?;
            let sign_in = answer(connection, mark, &token)?;
            ensure(matches!(sign_in.request, Request::Refused(_)), || {
                format!(
                    "{more:?}: {:?}, then {:?}",
                    sign_in.request, sign_in.outcome
                )
            })?;
        }
        let printed = rig
            .attempt(&server, "local", "secret")
            .psql("", "SELECT 1")?;
        ensure(!printed.success, || {
            "a local role got in without us".to_owned()
        })
    })
}

/// A server whose `/etc/pam.d` has `service` (none: no file) for us, and lets everybody in for
/// services that it doesn't know.
fn with_pam_file(rig: &Rig, name: &str, service: Option<&str>) -> Result<Server> {
    let directory = rig.pam_directory(name)?;
    directory.write(
        "other",
        "auth required pam_permit.so\naccount required pam_permit.so\n",
    )?;
    match service {
        Some(content) => directory.write("aadauth-15", content)?,
        None => directory.remove("aadauth-15")?,
    }
    let server = rig.server(name, |plan| plan.pam(&directory))?;
    server.sql("CREATE ROLE local LOGIN PASSWORD 'secret'")?;
    Ok(server)
}

/// Neither a mapped nor a local role gets in with anything, right or wrong.
fn nobody_gets_in(rig: &Rig, server: &Server, reason: &str) -> Result<()> {
    let person = rig.person(server, "someone")?;
    let token = rig.token_of(&person)?;
    stays_up(server, || {
        for (role, secret) in [
            ("someone", token.as_str()),
            ("someone", "x"),
            ("local", "secret"),
        ] {
            let (connection, mark) = rig.connect(server, role)?;
            let sign_in = answer(connection, mark, secret)?;
            ensure(sign_in.outcome.refusal().is_some(), || {
                format!("{role}: {:?}", sign_in.outcome)
            })?;
            let event = rig.event(server, &sign_in.mark)?;
            ensure(
                event["outcome"] == "refused" && event["reason"] == reason,
                || format!("{role}: {event}"),
            )?;
        }
        Ok(())
    })
}

fn pam_file_missing(rig: &Rig) -> Result<()> {
    let server = with_pam_file(rig, "pam-missing", None)?;
    nobody_gets_in(rig, &server, "no-verdict")
}

fn pam_file_names_another_module(rig: &Rig) -> Result<()> {
    let permit = "auth required pam_permit.so\naccount required pam_permit.so\n";
    let server = with_pam_file(rig, "pam-other", Some(permit))?;
    nobody_gets_in(rig, &server, "no-verdict")
}

fn pam_file_lets_another_decide(rig: &Rig) -> Result<()> {
    let library = installed_library()?;
    let content = format!(
        "auth optional {0}\nauth required pam_permit.so\naccount required pam_permit.so\n",
        library.display()
    );
    let server = with_pam_file(rig, "pam-permit", Some(&content))?;
    let person = rig.person(&server, "someone")?;
    stays_up(&server, || {
        rig.refused(&server, "someone", "not a token", "token-malformed")?;
        rig.accepted(&server, "someone", &rig.token_of(&person)?)?;
        let printed = rig
            .attempt(&server, "local", "wrong")
            .psql("", "SELECT 1")?;
        ensure(!printed.success, || "a wrong password got in".to_owned())?;
        let printed = rig
            .attempt(&server, "local", "secret")
            .psql("", "SELECT 1")?;
        ensure(printed.success, || format!("{printed:?}"))
    })
}

/// `other` answers for the account then; here it refuses, and its word counts too.
fn pam_file_without_account_line(rig: &Rig) -> Result<()> {
    let directory = rig.pam_directory("no-account")?;
    directory.write(
        "other",
        "auth required pam_deny.so\naccount required pam_deny.so\n",
    )?;
    let library = installed_library()?;
    directory.write(
        "aadauth-15",
        &format!("auth required {}\n", library.display()),
    )?;
    let server = rig.server("no-account", |plan| plan.pam(&directory))?;
    let person = rig.person(&server, "someone")?;
    let token = rig.token_of(&person)?;
    stays_up(&server, || {
        rig.refused(&server, "someone", &token, "no-verdict")
    })
}

fn unconfigured(rig: &Rig, name: &str, setting: &str, reason: &str) -> Result<()> {
    let mut server = rig.server(name, |plan| plan)?;
    // With a tenant in its label, since the server soon has none of its own.
    let person = rig.person(&server, "someone")?;
    let token = rig.token_of(&person)?;
    rig.accepted(&server, "someone", &token)?;
    server.configure(&[(setting, None)])?;
    stays_up(&server, || {
        let sign_in = rig.sign_in(&server, "someone", &token)?;
        ensure(matches!(sign_in.request, Request::Refused(_)), || {
            format!("the token was asked for: {:?}", sign_in.request)
        })?;
        rig.expect_refused(&server, "someone", &sign_in, reason)
    })
}

fn no_keys(rig: &Rig) -> Result<()> {
    let nowhere = format!("https://localhost:{}", free_port()?);
    let server = rig.start_plan(rig.plan("no-keys")?.set("aadauth.authority_host", &nowhere))?;
    server.sql("CREATE EXTENSION aadauth")?;
    let person = rig.person(&server, "someone")?;
    let token = rig
        .user("alice@contoso.com")
        .object_id(person.object_id)
        .claim("iss", format!("{nowhere}/{}/", pg_test::emulator::TENANT))
        .text()?;
    stays_up(&server, || {
        rig.refused(&server, "someone", &token, "signing-keys-unavailable")
    })
}

fn worker_not_running(rig: &Rig) -> Result<()> {
    let server = rig.start_plan(rig.plan("no-worker")?.set("max_worker_processes", "0"))?;
    server.sql("CREATE EXTENSION aadauth")?;
    let person = rig.person(&server, "someone")?;
    let token = rig.token_of(&person)?;
    stays_up(&server, || {
        let mark = server.log()?.len();
        let sign_in = rig.sign_in(&server, "someone", &token)?;
        ensure(sign_in.outcome.refusal().is_some(), || {
            format!("{:?}", sign_in.outcome)
        })?;
        // Without workers nothing moves the event into the audit: the log has it.
        server.wait_for_log(mark, "worker-not-running").map(drop)
    })
}

/// Changes a label behind the provider's back.
fn overwrite_label(server: &Server, role: &str, provider: &str, label: &str) -> Result<()> {
    server
        .sql(&format!(
            "SET allow_system_table_mods = on;
             UPDATE pg_shseclabel SET label = {label}
             WHERE provider = '{provider}' AND objoid = '{role}'::regrole"
        ))
        .map(drop)
}

fn damaged_label(rig: &Rig) -> Result<()> {
    for (index, label) in [
        "'rubbish'",
        "''",
        "'type=user'",
        "label || ',x'",
        "label || ' '",
    ]
    .iter()
    .enumerate()
    {
        let role = format!("damaged{index}");
        let person = rig.person(&rig.server, &role)?;
        let token = rig.token_of(&person)?;
        rig.accepted(&rig.server, &role, &token)?;
        overwrite_label(&rig.server, &role, "pgaadauth-int", label)?;
        stays_up(&rig.server, || {
            rig.refused(&rig.server, &role, &token, "label-invalid")
        })?;
    }
    let person = rig.person(&rig.server, "damaged_public")?;
    overwrite_label(&rig.server, "damaged_public", "pgaadauth", "'rubbish'")?;
    rig.refused(
        &rig.server,
        "damaged_public",
        &rig.token_of(&person)?,
        "label-invalid",
    )
}

fn labels_that_disagree(rig: &Rig) -> Result<()> {
    let person = rig.person(&rig.server, "torn")?;
    let token = rig.token_of(&person)?;
    for label in [
        "replace(label, 'type=user', 'type=group')",
        "label || ',admin'",
        "replace(label, substring(label from 'oid=([^,]*)'), 'e15e0000-0000-4000-8000-0000000000e1')",
    ] {
        rig.server.sql(&format!(
            "SECURITY LABEL FOR pgaadauth ON ROLE torn IS 'aadauth,oid={},type=user'",
            person.object_id
        ))?;
        rig.accepted(&rig.server, "torn", &token)?;
        overwrite_label(&rig.server, "torn", "pgaadauth-int", label)?;
        stays_up(&rig.server, || {
            rig.refused(&rig.server, "torn", &token, "label-conflict")
        })?;
    }
    Ok(())
}

fn one_label_missing(rig: &Rig) -> Result<()> {
    for (role, provider) in [
        ("half_public", "pgaadauth-int"),
        ("half_internal", "pgaadauth"),
    ] {
        let person = rig.person(&rig.server, role)?;
        let token = rig.token_of(&person)?;
        rig.accepted(&rig.server, role, &token)?;
        rig.server.sql(&format!(
            "SET allow_system_table_mods = on;
             DELETE FROM pg_shseclabel WHERE provider = '{provider}' AND objoid = '{role}'::regrole"
        ))?;
        rig.refused(&rig.server, role, &token, "label-conflict")?;
    }
    Ok(())
}

/// A server with a library that has faults to inject; its SQL functions can't be used, since they
/// name the installed library.
fn injected(rig: &Rig, fault: &str) -> Result<()> {
    let (library, service) = faulty_library(rig.run(), fault)?;
    let line = format!("hostssl all all all pam pamservice={}", service.name());
    let mut server = rig.start_plan(
        rig.plan(&format!("injected-{fault}"))?
            .hba(&[&line])
            .set("shared_preload_libraries", &library.display().to_string()),
    )?;
    let (role, token) = labelled(rig, &server)?;
    sign_in_when_keys_are_there(rig, &server, &role, &token)?;
    server.sql("CREATE ROLE local LOGIN PASSWORD 'secret'")?;
    server.configure(&[("aadauth.inject_fault", Some(fault))])?;
    stays_up(&server, || {
        let mark = server.log()?.len();
        let sign_in = rig.sign_in(&server, &role, &token)?;
        let refusal = sign_in
            .outcome
            .refusal()
            .ok_or("the fault let somebody in")?;
        let text = entra_token::client_text(entra_token::Reason::InternalError, &role, None);
        ensure(refusal.message == text && refusal.detail.is_none(), || {
            format!("{refusal:?}")
        })?;
        server.wait_for_log(mark, "internal-error").map(drop)
    })?;
    server.configure(&[("aadauth.inject_fault", None)])?;
    rig.accepted(&server, &role, &token).map(drop)
}

/// A role that is mapped by its label alone, and a good token for it.
fn labelled(rig: &Rig, server: &Server) -> Result<(String, String)> {
    let object_id = Uuid::new_v4();
    server.sql(&format!(
        "CREATE ROLE someone LOGIN;
         SECURITY LABEL FOR pgaadauth ON ROLE someone IS 'aadauth,oid={object_id},type=user'"
    ))?;
    let token = rig.user("alice@contoso.com").object_id(object_id).text()?;
    Ok(("someone".to_owned(), token))
}

fn sign_in_when_keys_are_there(rig: &Rig, server: &Server, role: &str, token: &str) -> Result<()> {
    until("a good token is accepted", || {
        Ok(rig
            .sign_in(server, role, token)?
            .outcome
            .is_in()
            .then_some(()))
    })
}

fn connection_without_tls(rig: &Rig) -> Result<()> {
    let server = rig.server("plain", |plan| {
        plan.hba(&["host all all all pam pamservice=aadauth-15"])
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
            let printed = attempt.psql(&format!("application_name={mark}"), "SELECT 1")?;
            ensure(!printed.success, || format!("got in by a {method} line"))?;
            if secret == "a password" || method == "trust" {
                let hint = "hostssl all all all pam pamservice=aadauth-15";
                ensure(printed.error.contains(hint), || printed.error.clone())?;
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
        let after = psql(&string, "", "SELECT 1")?;
        ensure(!after.success && after.error.contains("HINT"), || {
            format!("{after:?}")
        })
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

fn library_deleted(rig: &Rig) -> Result<()> {
    let place: PathBuf = rig.run().for_server("deleted-library")?;
    let library = place.join("aadauth.so");
    fs::copy(installed_library()?, &library)?;
    give_to_server(&library)?;
    let service = Service::install("deleted", &lines_naming(&library))?;
    let line = format!("hostssl all all all pam pamservice={}", service.name());
    let mut server = rig.start_plan(
        rig.plan("deleted")?
            .hba(&[&line])
            .set("shared_preload_libraries", &library.display().to_string()),
    )?;
    let (role, token) = labelled(rig, &server)?;
    sign_in_when_keys_are_there(rig, &server, &role, &token)?;
    fs::remove_file(&library)?;
    stays_up(&server, || {
        rig.accepted(&server, &role, &token)?;
        let refused = rig.sign_in(&server, &role, "not a token")?;
        ensure(matches!(refused.outcome, Outcome::Refused(_)), || {
            format!("{:?}", refused.outcome)
        })
    })?;
    server.stop()?;
    match server.start() {
        Ok(()) => Err("the server started without its library".into()),
        Err(error) => ensure(error.to_string().contains("could not access file"), || {
            error.to_string()
        }),
    }
}
