//! psql itself: it asks the server where to get a token, shows its user a code, and waits for the token.

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};
use std::time::Duration;

use pg_test::Result;
use pg_test::client::{Printed, without_pg_variables};
use pg_test::emulator::{AUDIENCE, TENANT};
use pg_test::place::{program, source};
use pg_test::process::Owned;
use pg_test::route::Route;
use pg_test::wait::until_within;
use rustix::process::Signal;

use super::{issuer, line, server_with};
use crate::libpq_options::{documented, is_for_the_option};
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
    let one = [server.port()];
    let signed_in = sign_in(rig, &one, "require_auth=oauth", "SELECT system_user")?;
    ensure(
        signed_in.printed.output == format!("oauth:{alice}") && signed_in.codes == 1,
        || format!("{signed_in:?}\n{}", server.log().unwrap_or_default()),
    )?;
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

/// Those that work, all at once and with two hosts.
pub fn options(rig: &Rig) -> Result<()> {
    let line = line(rig, "all");
    let lines = ["local replication postgres peer", &line];
    let primary = server_with(rig, "oauth-options", &lines, |plan| plan)?;
    let alice = "a11ce000-0000-4000-8000-000000000001";
    rig.map(&primary, "alice@contoso.com", alice, "user")?;
    let (work, fail): (Vec<_>, Vec<_>) = documented("OAUTHBEARER")?
        .into_iter()
        .partition(|(_, works)| *works);
    for (option, _) in fail {
        let refused = sign_in(rig, &[primary.port()], &option, "SELECT 1")?;
        ensure(is_for_the_option(&refused.printed), || {
            format!("{option}: {refused:?}")
        })?;
    }
    let plan = rig.plan("oauth-options-standby")?;
    let plan = plan.route(Route::Pam).hba(&lines);
    let plan = plan.set("oauth_validator_libraries", "aadauth");
    let standby = plan.start_standby(rig.run(), &primary)?;
    rig.await_keys(&standby)?;
    let ports = [primary.port(), standby.port()];
    let options: Vec<String> = work.into_iter().map(|(option, _)| option).collect();
    let options = options.join(" ") + " target_session_attrs=standby";
    let signed_in = sign_in(rig, &ports, &options, "SELECT pg_is_in_recovery()")?;
    ensure(
        signed_in.printed.output == "t" && signed_in.codes == 1,
        || format!("{options}: {signed_in:?}"),
    )
}

/// What psql printed, and how many codes its user has entered.
#[derive(Debug)]
struct SignedIn {
    printed: Printed,
    codes: usize,
}

/// Signs Alice in to one of the servers on these ports: a code is entered whenever psql shows one.
fn sign_in(rig: &Rig, ports: &[u16], options: &str, sql: &str) -> Result<SignedIn> {
    let many = |text: &str| vec![text; ports.len()].join(",");
    let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
    let mut command = Command::new("timeout");
    without_pg_variables(&mut command)
        .arg("120")
        .arg(program("psql")?)
        .args(["-XAtq", "-w", "-d"])
        .arg(format!(
            "host={} hostaddr={} port={} dbname=postgres user=alice@contoso.com sslmode=verify-full \
             sslrootcert='{}' oauth_issuer={} oauth_client_id={CLIENT} {options}",
            many("localhost"),
            many("127.0.0.1"),
            ports.join(","),
            rig.emulator.authorities().display(),
            issuer(rig),
        ))
        .args(["-c", sql])
        // What libcurl trusts is the system's; for the emulator's certificate that takes this.
        .env("PGOAUTHDEBUG", "UNSAFE")
        .env("PGOAUTHCAFILE", rig.emulator.authorities())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut psql = Owned::start("psql", &mut command, Signal::TERM)?;
    let errors = psql.child().stderr.take().ok_or("no standard error")?;
    let (mut error, mut codes) = (String::new(), 0);
    // Until it ends: it polls every five seconds.
    for line in BufReader::new(errors).lines() {
        let line = line?;
        if let Some((_, code)) = line.split_once("enter the code: ") {
            rig.emulator
                .enter_device_code(code.trim(), "alice@contoso.com")?;
            codes += 1;
        }
        error.push_str(&line);
        error.push('\n');
    }
    let mut output = String::new();
    let printed = psql.child().stdout.as_mut().ok_or("no standard output")?;
    printed.read_to_string(&mut output)?;
    let printed = Printed {
        success: psql.child().wait()?.success(),
        output: output.trim_end().to_owned(),
        error,
    };
    Ok(SignedIn { printed, codes })
}
