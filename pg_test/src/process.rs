//! Running programs, as root or as the server's account, and ending them by process id.

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::wait::until_within;
use crate::{Error, Result};

/// User and group id of `postgres`.
///
/// # Errors
/// There is no such account.
pub fn postgres_account() -> Result<(u32, u32)> {
    let accounts = fs::read_to_string("/etc/passwd")?;
    accounts
        .lines()
        .find_map(|line| {
            let mut fields = line.strip_prefix("postgres:")?.split(':').skip(1);
            Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
        })
        .ok_or_else(|| "there is no account postgres: run .ci/prerequisites".into())
}

/// A command that runs as `postgres`, in a directory that it may enter.
///
/// # Errors
/// There is no such account.
pub fn as_postgres(program: impl AsRef<std::ffi::OsStr>) -> Result<Command> {
    let (user, group) = postgres_account()?;
    let mut command = Command::new(program);
    command.uid(user).gid(group).current_dir("/");
    Ok(command)
}

/// Runs a command and returns what it printed.
///
/// # Errors
/// It cannot be run, or it fails; the error contains its standard error.
pub fn checked(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command
        .output()
        .map_err(|error| format!("{name}: {error}"))?;
    if !output.status.success() {
        return Err(format!(
            "{name}: {}\n{}{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        )
        .into());
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// Sends a signal to a process.
///
/// # Errors
/// There is no such process.
pub fn signal(process: u32, signal: Signal) -> Result<()> {
    let process = i32::try_from(process)
        .ok()
        .and_then(Pid::from_raw)
        .ok_or("no process id")?;
    Ok(kill_process(process, signal)?)
}

/// A child process that doesn't outlive its owner.
pub struct Owned {
    name: String,
    child: Child,
    ending: Signal,
}

impl Owned {
    /// Starts a program; `ending` is the signal that makes it end in good order.
    ///
    /// # Errors
    /// It can't be started.
    pub fn start(name: &str, command: &mut Command, ending: Signal) -> Result<Owned> {
        let child = command
            .spawn()
            .map_err(|error| format!("{name}: {error}"))?;
        Ok(Owned {
            name: name.to_owned(),
            child,
            ending,
        })
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// # Errors
    /// The operating system won't tell.
    pub fn is_running(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// Sends `how`, unless it has ended, and waits for the end.
    ///
    /// # Errors
    /// It goes on for more than thirty seconds.
    pub fn end(&mut self, how: Signal) -> Result<ExitStatus> {
        if self.is_running()? {
            signal(self.id(), how)?;
        }
        let what = format!("{} ends", self.name);
        let child = &mut self.child;
        until_within(Duration::from_secs(30), &what, || {
            child.try_wait().map_err(Error::from)
        })
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        if self.end(self.ending).is_err() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
