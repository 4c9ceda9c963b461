//! psql itself: it asks the server where to get a token, shows its user a code, and waits for the token.

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};
use std::time::Duration;

use pg_test::Result;
use pg_test::client::without_pg_variables;
use pg_test::emulator::{AUDIENCE, TENANT};
use pg_test::place::{pg_config_says, source};
use pg_test::process::Owned;
use pg_test::wait::until_within;
use rustix::process::Signal;

use super::{issuer, server_with};
use crate::rig::{Rig, ensure};

/// The application of the Azure CLI, which every user may use.
const CLIENT: &str = "04b07795-8ddb-461a-bbee-02f9e1bf7b46";

/// The line that docs/oauthbearer.md shows, for this rig.
fn documented_line(rig: &Rig) -> Result<String> {
    let text = std::fs::read_to_string(source().join("docs/oauthbearer.md"))?;
    let line = text
        .lines()
        .find(|line| line.starts_with("hostssl") && line.contains(" oauth "))
        .ok_or("docs/oauthbearer.md shows no line")?;
    let issuer = issuer(rig);
    let line = line.replace(
        &format!("https://login.microsoftonline.com/{TENANT}/v2.0"),
        &issuer,
    );
    ensure(line.contains(&issuer) && line.contains(AUDIENCE), || {
        format!("{line:?} has another issuer or scope than the tests")
    })?;
    Ok(line)
}

pub fn device_code(rig: &Rig) -> Result<()> {
    let server = server_with(rig, "oauth-psql", &[&documented_line(rig)?], |plan| plan)?;
    let alice = "a11ce000-0000-4000-8000-000000000001";
    rig.map(&server, "alice@contoso.com", alice, "user")?;
    server.sql("CREATE ROLE people; GRANT people TO \"alice@contoso.com\"")?;
    let mut command = Command::new(format!("{}/psql", pg_config_says("--bindir")?));
    without_pg_variables(&mut command)
        .args(["-XAtq", "-w", "-d"])
        .arg(format!(
            "host=localhost hostaddr=127.0.0.1 port={} dbname=postgres user=alice@contoso.com sslmode=verify-full \
             sslrootcert='{}' require_auth=oauth oauth_issuer={} oauth_client_id={CLIENT}",
            server.port(),
            rig.emulator.authorities().display(),
            issuer(rig),
        ))
        .args(["-c", "SELECT system_user"])
        // What libcurl trusts is the system's; for the emulator's certificate that takes this.
        .env("PGOAUTHDEBUG", "UNSAFE")
        .env("PGOAUTHCAFILE", rig.emulator.authorities())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut psql = Owned::start("psql", &mut command, Signal::TERM)?;
    let error = psql.child().stderr.take().ok_or("no standard error")?;
    let mut told = String::new();
    let mut lines = BufReader::new(error).lines();
    let code = loop {
        let Some(line) = lines.next().transpose()? else {
            return Err(format!("psql shows no code:\n{told}\n{}", server.log()?).into());
        };
        told.push_str(&line);
        told.push('\n');
        if let Some((_, code)) = line.split_once("enter the code: ") {
            break code.trim().to_owned();
        }
    };
    rig.emulator.enter_device_code(&code, "alice@contoso.com")?;
    // It polls every five seconds. Its output is read meanwhile, so that it does not block on a full pipe.
    let drained =
        std::thread::spawn(move || lines.map_while(std::io::Result::ok).collect::<Vec<_>>());
    let status = until_within(Duration::from_secs(60), "psql ends", || {
        Ok(psql.child().try_wait()?)
    })?;
    let more = drained
        .join()
        .map_err(|_| "psql's errors could not be read")?;
    let mut printed = String::new();
    if let Some(mut output) = psql.child().stdout.take() {
        output.read_to_string(&mut printed)?;
    }
    ensure(status.success(), || {
        format!("{told}\n{more:?}\n{}", server.log().unwrap_or_default())
    })?;
    ensure(printed.trim() == format!("oauth:{alice}"), || {
        printed.clone()
    })?;
    // Two connections: one that asked, and one that signed in.
    let events = || -> Result<String> {
        server.sql(
            "SELECT string_agg(outcome || ' ' || coalesce(reason, ''), ', ' ORDER BY occurred_at)
             FROM aadauth.sign_in_audit WHERE role = 'alice@contoso.com'",
        )
    };
    until_within(Duration::from_secs(30), "the sign-in is recorded", || {
        Ok(events()?.contains("authenticated").then_some(()))
    })?;
    let events = events()?;
    ensure(
        events.trim() == "interrupted token-discovery, authenticated",
        || events.clone(),
    )
}
