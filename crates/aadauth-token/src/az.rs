//! Tokens of the Azure CLI.

use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Output, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, SystemTime};

use entra_client::access_token::AccessToken;
use rustix::process::{Pid, Signal, kill_process_group};
use serde::Deserialize;
use uuid::Uuid;
use zeroize::Zeroizing;

/// How long a token is taken to live if an old `az` does not say.
const UNKNOWN: Duration = Duration::from_secs(300);
/// It answers within a few seconds, also where it has to ask Entra.
const TIME_LIMIT: Duration = Duration::from_secs(60);

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
    let output = output(&mut az, TIME_LIMIT)?;
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

/// What it prints, unless that takes too long. Then it is ended with all that it has started: `az` is a script. Its group is
/// its own for that; a signal from the terminal ends this program, and `az` when it has done its work.
fn output(az: &mut Command, limit: Duration) -> Result<Output, String> {
    let child = az
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .process_group(0)
        .spawn()
        .map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => "az is not on the PATH: install the Azure CLI".to_owned(),
            _ => format!("az: {error}"),
        })?;
    let group = Pid::from_child(&child);
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || sender.send(child.wait_with_output()));
    match receiver.recv_timeout(limit) {
        Ok(output) => output.map_err(|error| format!("az: {error}")),
        Err(_) => {
            // It may have ended meanwhile.
            let _ = kill_process_group(group, Signal::KILL);
            Err(format!(
                "az has given no token for {} s: see what `az account get-access-token` waits for",
                limit.as_secs()
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::process::Command;
    use std::sync::mpsc;
    use std::thread;
    use std::time::Duration;

    use super::output;

    #[test]
    fn what_does_not_answer_is_ended() {
        // The pipe is open for as long as one of its processes runs.
        let (mut pipe, end) = std::io::pipe().unwrap();
        let mut az = Command::new("sh");
        az.args(["-c", "sleep 3600; echo"]).stderr(end);
        let problem = output(&mut az, Duration::from_millis(50)).unwrap_err();
        assert!(problem.contains("no token for 0 s"), "{problem}");
        drop(az);
        let (sender, receiver) = mpsc::channel();
        thread::spawn(move || sender.send(pipe.read(&mut [0]).unwrap()));
        assert_eq!(receiver.recv_timeout(Duration::from_secs(60)), Ok(0));
    }
}
