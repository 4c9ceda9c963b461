//! Whatever is missing or broken, nobody gets in without a right to, and the server stays up.

use std::fs;

use pg_test::compiler::shared_library;
use pg_test::route::Route;
use pg_test::server::Server;
use pg_test::set_up::free_port;
use pg_test::wire::Request;
use pg_test::{Result, pam};

use crate::Test;
use crate::directory_server::ALICE;
use crate::rig::{Rig, answer, ensure, installed_library, library_directory, library_place};

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
    ("no_backtrace_reaches_a_client", no_backtrace),
    ("no_workers_during_pg_upgrade", no_workers_in_upgrade),
    ("library_deleted", library_deleted),
    ("only_workers_load_the_http_client", only_workers_load_it),
    ("network_library_missing", network_library_missing),
];

/// Runs what a test does, and makes sure that the server went through it without a crash.
pub fn stays_up(server: &Server, test: impl FnOnce() -> Result<()>) -> Result<()> {
    let postmaster = server.postmaster()?;
    let mark = server.log()?.len();
    test()?;
    ensure(server.sql_in_new_session("SELECT 1")? == "1", || {
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
    let start = server.log_length()?;
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
    })?;
    // PostgreSQL's own message does not say why. Without the library, the alternate file is not in force.
    match server.plan().route {
        Route::Pam => server
            .wait_for_log(start, "LOG:  aadauth is not in shared_preload_libraries")
            .map(drop),
        Route::HbaFile => Ok(()),
    }
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
        Some(content) => directory.write(&pam::service()?, content)?,
        None => directory.remove(&pam::service()?)?,
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
        &pam::service()?,
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
    // Room for the server's own logical replication launcher, and for the session worker, which comes first.
    let server = rig.start_plan(rig.plan("no-worker")?.set("max_worker_processes", "2"))?;
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
pub fn overwrite_label(server: &Server, role: &str, provider: &str, label: &str) -> Result<()> {
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

fn injected(rig: &Rig, fault: &str) -> Result<()> {
    let name = format!("injected-{fault}");
    let libraries = library_directory(rig.run(), &format!("lib-{name}"), &["fault-injection"])?;
    let place = library_place()?;
    let broken = rig.run().for_server(&format!("{name}-log"))?.join("broken");
    let log = broken.with_file_name("failing_log.so");
    let macros = format!("BROKEN=\"{}\"", broken.display());
    shared_library("fail_closed/failing_log.c", &log, &[&macros])?;
    let mut server = rig.server(&name, |plan| {
        plan.mount(&libraries, &place).set(
            "shared_preload_libraries",
            &format!("aadauth,{}", log.display()),
        )
    })?;
    let person = rig.person(&server, "someone")?;
    let token = rig.token_of(&person)?;
    rig.accepted(&server, "someone", &token)?;
    server.configure(&[("aadauth.inject_fault", Some(fault))])?;
    let refused = || {
        for _ in 0..3 {
            rig.refused(&server, "someone", &token, "internal-error")?;
        }
        Ok(())
    };
    stays_up(&server, refused)?;
    // Another library's ERROR while it is being logged must not get any further either.
    fs::write(&broken, "")?;
    stays_up(&server, refused)?;
    fs::remove_file(&broken)?;
    server.configure(&[("aadauth.inject_fault", None)])?;
    rig.accepted(&server, "someone", &token).map(drop)
}

/// Even where the server is started with `RUST_BACKTRACE`, which makes pgrx add them to panics.
fn no_backtrace(rig: &Rig) -> Result<()> {
    let libraries = library_directory(rig.run(), "lib-backtrace", &["fault-injection"])?;
    let place = library_place()?;
    let mut server = rig.server("backtrace", |plan| {
        plan.mount(&libraries, &place)
            .environment("RUST_BACKTRACE", "1")
    })?;
    server.sql("CREATE ROLE someone")?;
    server.configure(&[("aadauth.inject_fault", Some("panic"))])?;
    stays_up(&server, || {
        let error = server
            .sql("SECURITY LABEL FOR pgaadauth ON ROLE someone IS NULL")
            .expect_err("the fault was not injected")
            .to_string();
        ensure(
            error.contains("a panic on request") && !error.contains("DETAIL"),
            || error.clone(),
        )
    })
}

/// As pg_upgrade starts its servers (`-b`): a connected worker would hold up what it does.
fn no_workers_in_upgrade(rig: &Rig) -> Result<()> {
    let ordinary = rig.server.child("aadauth")?;
    ensure(ordinary.is_some(), || "no worker is ever seen".to_owned())?;
    let server = rig.start_plan(rig.plan("upgrade")?.argument("-b"))?;
    ensure(server.sql("SELECT 1")? == "1", || "no answer".to_owned())?;
    let worker = server.child("aadauth")?;
    ensure(worker.is_none(), || format!("process {worker:?}"))
}

fn library_deleted(rig: &Rig) -> Result<()> {
    let libraries = library_directory(rig.run(), "lib-deleted", &[])?;
    let place = library_place()?;
    let mut server = rig.server("library-deleted", |plan| plan.mount(&libraries, &place))?;
    let person = rig.person(&server, "someone")?;
    let token = rig.token_of(&person)?;
    rig.accepted(&server, "someone", &token)?;
    fs::remove_file(libraries.join("aadauth.so"))?;
    stays_up(&server, || {
        rig.accepted(&server, "someone", &token)?;
        rig.refused(&server, "someone", "not a token", "token-malformed")
    })?;
    server.stop()?;
    match server.start() {
        Ok(()) => Err("the server started without its library".into()),
        Err(error) => ensure(error.to_string().contains("could not load library"), || {
            error.to_string()
        }),
    }
}

/// What speaks HTTPS, and the libraries that it is made of, are in no session's process.
fn only_workers_load_it(rig: &Rig) -> Result<()> {
    let own = rig.directory_server("lean")?;
    // Its sign-in asks the directory.
    let mut session = rig.session(&own.server, "analysts", &own.silent_user(ALICE)?)?;
    let process = session.query("SELECT pg_backend_pid()")?.concat().parse()?;
    let has_it = |process: u32| -> Result<bool> {
        let maps = fs::read_to_string(format!("/proc/{process}/maps"))?;
        ensure(maps.contains("/aadauth.so"), || {
            format!("process {process} has no library")
        })?;
        Ok(maps.contains("aadauth_network"))
    };
    let network = own.server.child("aadauth network")?.ok_or("no worker")?;
    ensure(has_it(network)?, || {
        "the worker does not have it".to_owned()
    })?;
    // And this as well, as a superuser.
    own.server
        .sql("SELECT count(*) FROM aadauth.check_configuration()")?;
    let superuser = own.server.sql("SELECT pg_backend_pid()")?.parse()?;
    for process in [own.server.postmaster()?, process, superuser] {
        ensure(!has_it(process)?, || format!("process {process} has it"))?;
    }
    Ok(())
}

/// Sign-ins are refused for want of keys; with a file of keys, nothing is missing.
fn network_library_missing(rig: &Rig) -> Result<()> {
    let libraries = library_directory(rig.run(), "lib-lean", &[])?;
    let place = library_place()?;
    fs::remove_file(libraries.join("aadauth_network.so"))?;
    let plan = rig
        .plan("network-library-missing")?
        .mount(&libraries, &place);
    let mut server = rig.start_plan(plan)?;
    server.wait_for_log(0, "aadauth_network.so\" cannot be used")?;
    server.sql("CREATE EXTENSION IF NOT EXISTS aadauth")?;
    let person = rig.person(&server, "someone")?;
    let token = rig.token_of(&person)?;
    rig.refused(&server, "someone", &token, "signing-keys-unavailable")?;
    let keys = rig.run().path().join("keys-for-lean.json");
    let set = entra_emulator::SigningKeys::open(rig.emulator.state())?.key_set(None);
    fs::write(&keys, set.to_string())?;
    server.configure(&[("aadauth.jwks_file", Some(&keys.display().to_string()))])?;
    rig.accepted(&server, "someone", &token).map(drop)
}
