//! Tokens of the Azure CLI.

use std::io;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use entra_client::access_token::AccessToken;
use serde::Deserialize;
use uuid::Uuid;
use zeroize::Zeroizing;

/// How long a token is taken to live if an old `az` does not say.
const UNKNOWN: Duration = Duration::from_secs(300);

/// <https://learn.microsoft.com/cli/azure/account#az-account-get-access-token>
#[derive(Deserialize)]
struct Answer<'a> {
    /// Borrowed from the output, which is wiped.
    #[serde(rename = "accessToken")]
    access_token: &'a str,
    /// Seconds since 1970; since version 2.54.
    expires_on: Option<u64>,
}

/// Asks `az`, whose messages go to standard error as they are.
///
/// # Errors
///
/// `az` is not there or fails, or its answer has no token that is good.
pub fn token(resource: &str, tenant: Option<Uuid>) -> Result<AccessToken, String> {
    let mut az = Command::new("az");
    az.args(["account", "get-access-token", "--output", "json"]);
    az.args(["--resource", resource]);
    if let Some(tenant) = tenant {
        az.args(["--tenant", &tenant.to_string()]);
    }
    let output = az
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => "az is not on the PATH: install the Azure CLI".to_owned(),
            _ => format!("az: {error}"),
        })?;
    let answer = Zeroizing::new(output.stdout);
    if !output.status.success() {
        return Err(format!(
            "az gives no token ({}): its message is above",
            output.status
        ));
    }
    let answer: Answer<'_> =
        serde_json::from_slice(&answer).map_err(|_| "az: its answer has no token".to_owned())?;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let lifetime = answer.expires_on.map_or(UNKNOWN, |at| {
        Duration::from_secs(at).saturating_sub(now.unwrap_or_default())
    });
    AccessToken::new(answer.access_token, lifetime)
        .map_err(|problem| format!("az: its answer {problem}"))
}
