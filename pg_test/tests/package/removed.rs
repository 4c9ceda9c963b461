//! Removing the package lets nobody in.

use pg_test::Result;
use pg_test::rig::ensure;

use crate::Test;
use crate::prepared::{Prepared, Server};

pub const TESTS: &[Test] = &[
    ("the_running_server_goes_on", running_server),
    ("the_server_starts_once_the_setting_is_out", starts_without),
    ("everyone_on_the_line_is_refused", refused_after_removal),
    ("purging_lets_nobody_in", purged),
    ("installing_again_brings_it_back", installed_again),
    (
        "as_the_document_says_nothing_is_left_that_names_it",
        documented,
    ),
];

const ALICE: &str = "alice@contoso.com";

/// A service that lets everybody in, in place of the one that libpam asks when there is no file.
const ANYBODY: &str = "auth required pam_permit.so\\naccount required pam_permit.so\\n";

fn running_server(prepared: &Prepared) -> Result<()> {
    let server = prepared.server("running")?;
    let before = server.postmaster()?;
    let said = remove(prepared, &server, "remove")?;
    let service = format!("/etc/pam.d/{} stays", prepared.service);
    let named = format!("/etc/postgresql/{}/main/pg_hba.conf", prepared.major);
    for told in [
        "is refused, local roles included",
        "shared_preload_libraries",
        "oauth_validator_libraries",
        &service,
        &named,
    ] {
        ensure(said.contains(told), || format!("{told} is not in\n{said}"))?;
    }
    ensure(server.postmaster()? == before, || "restarted".to_owned())?;
    server.lets_in(ALICE, &server.token(ALICE)?)?;
    server.refuses(ALICE, &server.token("mallory@contoso.com")?)
}

fn starts_without(prepared: &Prepared) -> Result<()> {
    let server = prepared.server("without")?;
    remove(prepared, &server, "remove")?;
    ensure(server.restart().is_err(), || {
        "it started without the library that it should load".to_owned()
    })?;
    let log = server.log()?;
    ensure(
        [
            "could not load library \"aadauth\"",
            "could not access file \"aadauth\"",
        ]
        .iter()
        .any(|text| log.contains(text)),
        || log.clone(),
    )?;
    take_out_the_setting(&server)?;
    server.start()?;
    ensure(
        server.sql("SHOW shared_preload_libraries")?.is_empty(),
        || "the setting is still there".to_owned(),
    )
}

fn refused_after_removal(prepared: &Prepared) -> Result<()> {
    let server = without_library(prepared, "refused", "remove")?;
    refuses_all(&server)?;
    // That `other` would have let them in is no idle threat: without the file it does.
    server
        .machine
        .run(&format!("rm /etc/pam.d/{}", prepared.service))?;
    server.lets_in(ALICE, "anything")?;
    server.lets_in("local", "anything")
}

fn purged(prepared: &Prepared) -> Result<()> {
    let server = without_library(prepared, "purged", "purge")?;
    let package = &prepared.package;
    let state = server.machine.try_run(&format!(
        "dpkg-query -W -f '${{db:Status-Status}}' {package}"
    ))?;
    ensure(
        state.output.is_empty() || state.output == "not-installed",
        || format!("not purged: {}", state.output),
    )?;
    refuses_all(&server)
}

fn installed_again(prepared: &Prepared) -> Result<()> {
    let server = prepared.server("again")?;
    let before = server.machine.run(&service_file(prepared))?;
    remove(prepared, &server, "purge")?;
    server
        .machine
        .run(&format!("apt-get install -y {}", prepared.file))?;
    ensure(
        server.machine.run(&service_file(prepared))? == before,
        || "another service file".to_owned(),
    )?;
    server.restart()?;
    server.await_keys()?;
    server.lets_in(ALICE, &server.token(ALICE)?)?;
    server.lets_in("local", "local password")
}

/// In the order that docs/install.md advises.
fn documented(prepared: &Prepared) -> Result<()> {
    let server = prepared.server("documented-removal")?;
    server.run_blocks("docs/install.md", "package-removal")?;
    server.lets_in("local", "local password")?;
    server.refuses("local", "another password")?;
    server.refuses(ALICE, &server.token(ALICE)?)?;
    let left = server.machine.run(&format!(
        "grep -rlE '^[^#]*aadauth' /etc/postgresql/{0}/main/pg_hba.conf /etc/pam.d || true",
        prepared.major
    ))?;
    ensure(left.is_empty(), || format!("left: {left}"))?;
    let left = server.sql(
        "SELECT (SELECT count(*) FROM pg_shseclabel), rolcreaterole, pg_has_role('alice@contoso.com', 'azure_pg_admin', 'MEMBER')
         FROM pg_roles WHERE rolname = 'alice@contoso.com'",
    )?;
    ensure(left == "0|f|f", || format!("left: {left}"))
}

fn service_file(prepared: &Prepared) -> String {
    format!("cat /etc/pam.d/{}", prepared.service)
}

/// A server whose library is gone, on a machine whose `/etc/pam.d/other` lets everybody in.
fn without_library(prepared: &Prepared, name: &str, how: &str) -> Result<Server> {
    let server = prepared.server(name)?;
    let said = remove(prepared, &server, how)?;
    if how == "purge" {
        let told = format!("{} is left in place on purpose", prepared.service);
        ensure(said.contains(&told), || said.clone())?;
    }
    server
        .machine
        .run(&format!("printf '{ANYBODY}' >/etc/pam.d/other"))?;
    server.control("stop")?;
    take_out_the_setting(&server)?;
    server.start()?;
    Ok(server)
}

fn refuses_all(server: &Server) -> Result<()> {
    server.refuses(ALICE, &server.token(ALICE)?)?;
    server.refuses(ALICE, "anything")?;
    server.refuses("local", "local password")?;
    server.refuses("nobody", "anything")?;
    ensure(server.sql("SELECT 'in'")? == "in", || {
        "the break-glass line does not work".to_owned()
    })
}

/// What apt says to it.
fn remove(prepared: &Prepared, server: &Server, how: &str) -> Result<String> {
    server
        .machine
        .run(&format!("apt-get {how} -y {}", prepared.package))
}

fn take_out_the_setting(server: &Server) -> Result<()> {
    server
        .machine
        .run(&format!(
            "rm /etc/postgresql/{}/main/conf.d/aadauth.conf",
            server.major
        ))
        .map(drop)
}
