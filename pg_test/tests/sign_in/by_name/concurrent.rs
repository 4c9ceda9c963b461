//! What others do while a session waits for the directory.

use pg_test::Result;
use serde_json::json;

use super::internal;
use crate::directory_server::{ALICE, DirectoryServer};
use crate::rig::{Rig, Subject, ensure};

/// Runs a statement that asks the directory, as `ask` does it, and another while it waits; what became of
/// the first.
fn meanwhile(
    own: &DirectoryServer<'_>,
    ask: impl FnOnce() -> Result<()> + Send,
    other: &str,
) -> Result<String> {
    own.emulator
        .disturb(&json!({ "fault": { "slow": 3_000 }, "endpoint": "graph" }))?;
    let outcome = std::thread::scope(|scope| -> Result<Result<()>> {
        let waiting = scope.spawn(ask);
        own.wait_for_request("SECURITY LABEL FOR pgaadauth")?;
        own.server.sql(other)?;
        Ok(waiting.join().map_err(|_| "a thread panicked")?)
    })?;
    own.emulator.behave()?;
    Ok(outcome
        .err()
        .map(|error| error.to_string())
        .unwrap_or_default())
}

pub fn renamed(rig: &Rig) -> Result<()> {
    let own = rig.directory_server_with("by-name-renamed", |plan, _| {
        Ok(plan.set("aadauth.directory_timeout", "30s"))
    })?;
    own.server.sql("CREATE ROLE batch LOGIN")?;
    let ask = || {
        own.server
            .sql("SECURITY LABEL FOR pgaadauth ON ROLE batch IS 'aadauth'")
            .map(drop)
    };
    let error = meanwhile(&own, ask, "ALTER ROLE batch RENAME TO somebody_else")?;
    ensure(
        error.contains("55000: role \"batch\" was renamed during the directory lookup"),
        || error.clone(),
    )?;
    let labels = own
        .server
        .sql("SELECT count(*) FROM pg_shseclabel WHERE objoid = 'somebody_else'::regrole")?;
    ensure(labels == "0", || format!("{labels} labels"))
}

/// An administrator who loses the right during the lookup.
pub fn dismissed(rig: &Rig) -> Result<()> {
    let own = rig.directory_server_with("by-name-dismissed", |plan, _| {
        Ok(plan.set("aadauth.directory_timeout", "30s"))
    })?;
    own.server.sql(
        "SELECT pgaadauth_create_principal('alice@contoso.com', true, false);
         CREATE ROLE batch LOGIN; GRANT batch TO azure_pg_admin WITH ADMIN OPTION",
    )?;
    let token = own.token(Subject::User(ALICE.to_owned())).text()?;
    let attempt = own.rig.attempt(&own.server, ALICE, &token);
    let ask = || {
        let printed = attempt.psql(
            "",
            "SECURITY LABEL FOR pgaadauth ON ROLE batch IS 'aadauth'",
        )?;
        match printed.success {
            true => Ok(()),
            false => Err(printed.error.into()),
        }
    };
    let dismiss = format!(
        "SECURITY LABEL FOR \"pgaadauth-int\" ON ROLE \"{ALICE}\" IS '{}'",
        internal("user", "a11ce000-0000-4000-8000-000000000001")
    );
    let error = meanwhile(&own, ask, &dismiss)?;
    ensure(
        error.contains("42501: permission denied to change the Entra mapping"),
        || format!("went through, or not for that: {error}"),
    )
}
