//! Mistakes in the server's files.

use pg_test::pam::service;
use pg_test::{Result, wait::until};

use super::{Mistakes, SOMEONE};
use crate::directory_server::set_mode;
use crate::rig::OUR_LINES;

/// Those that are made in PAM's files, or in lines of `pam`.
pub const OF_PAM: &[&str] = &["12", "13", "14", "15a", "22"];

const OURS: &str = OUR_LINES[0];

pub fn mistakes(mistakes: &mut Mistakes<'_>) -> Result<()> {
    settings(mistakes)?;
    lines(mistakes)?;
    credentials(mistakes)
}

fn settings(mistakes: &mut Mistakes<'_>) -> Result<()> {
    for (number, name, value) in [
        (
            "1",
            "aadauth.audience",
            "api://aada0000-0000-4000-8000-00000000005O",
        ),
        (
            "4",
            "aadauth.tenant_id",
            "fab41ca0-0000-4000-8000-00000000000f",
        ),
        ("5a", "aadauth.tenant_id", "contoso.com"),
        ("5b", "aadauth.tennant_id", "contoso.com"),
        ("20", "aadauth.ca_file", "/etc/aadauth/ca.pem"),
    ] {
        mistakes.with_settings(number, &[(name, Some(value))])?;
    }
    mistakes.nothing_is_wrong()
}

fn lines(mistakes: &mut Mistakes<'_>) -> Result<()> {
    mistakes
        .server
        .set_hba(&["host all all all pam pamservice=aadauth-{major}"])?;
    let token = mistakes.token()?;
    mistakes.made_with("6", SOMEONE, &token, false)?;
    mistakes.with_lines("15b", &[])?;
    mistakes.with_lines("15c", &["hostssl all all all scram-sha-256", OURS])?;
    mistakes.with_lines("16", &["hostssl all all all scram-sha-257", OURS])?;
    mistakes.nothing_is_wrong()
}

fn credentials(mistakes: &mut Mistakes<'_>) -> Result<()> {
    const FILE: &str = "aadauth.client_secret_file";
    let secret = mistakes.server.plan().settings[FILE].clone();
    let wrong = mistakes
        .rig
        .secret_file("mistakes.wrong", "not-the-secret")?;
    let asks = ("aadauth.credential", Some("client_secret"));
    mistakes.with_settings("21a", &[asks, (FILE, Some("/etc/aadauth/secret"))])?;
    set_mode(secret.as_ref(), "0644")?;
    mistakes.with_settings("21b", &[asks])?;
    set_mode(secret.as_ref(), "0600")?;
    mistakes.with_settings("21c", &[asks, (FILE, Some(&wrong.display().to_string()))])?;
    mistakes.with_settings("21d", &[asks, ("aadauth.client_id", None)])?;
    mistakes.nothing_is_wrong()
}

pub fn of_pam(mistakes: &mut Mistakes<'_>) -> Result<()> {
    let file = service()?;
    let content = std::fs::read_to_string(mistakes.services.path().join(&file))?;
    mistakes.services.remove(&file)?;
    mistakes.with_settings("12", &[])?;
    mistakes.services.write(&file, &content)?;
    mistakes.with_lines("13", &["hostssl all all all pam pamservice=aadauth"])?;
    mistakes.with_lines("14", &["hostssl all all all pam pamservice=aadauth-14"])?;
    mistakes.with_lines("15a", &["hostssl all all all pam"])?;
    mistakes.nothing_is_wrong()?;
    not_restarted(mistakes)
}

/// The library was added to shared_preload_libraries, and the server only reloaded.
fn not_restarted(mistakes: &mut Mistakes<'_>) -> Result<()> {
    const PRELOAD: &str = "shared_preload_libraries";
    let server = &mut mistakes.server;
    server.configure(&[(PRELOAD, None)])?;
    server.restart()?;
    server.configure(&[(PRELOAD, Some("aadauth"))])?;
    until("the server knows that it waits for a restart", || {
        let pending =
            "SELECT pending_restart FROM pg_settings WHERE name = 'shared_preload_libraries'";
        Ok((server.sql(pending)? == "t").then_some(()))
    })?;
    let token = mistakes.token()?;
    mistakes.made("22", SOMEONE, &token)?;
    mistakes.server.restart()
}
