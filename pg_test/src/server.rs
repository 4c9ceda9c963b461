//! Throw-away PostgreSQL servers.

use std::fs;
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::Signal;

use crate::Result;
use crate::place::{give_to_server, major, major_of, target};
use crate::plan::{MAJOR, Plan};
use crate::process::{Owned, as_postgres, postgres_account, signal};
use crate::route::{ALTERNATE_HBA_FILE, Route};
use crate::superuser::{self, Sessions};
use crate::wait::until;
use crate::wire::Connection;

/// A running server; dropped, it stops, and its files are removed.
pub struct Server {
    plan: Plan,
    home: PathBuf,
    port: u16,
    process: Option<Owned>,
    sessions: Sessions,
}

impl Server {
    /// One whose data directory is in `home`, not started.
    pub fn new(plan: Plan, home: PathBuf, port: u16) -> Server {
        Server {
            plan,
            home,
            port,
            process: None,
            sessions: Sessions::default(),
        }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// What it is like now.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    pub fn name(&self) -> &str {
        &self.plan.name
    }

    pub fn data(&self) -> PathBuf {
        self.home.join("data")
    }

    /// Where its programs are.
    pub fn binaries(&self) -> &Path {
        &self.plan.binaries
    }

    /// A client program of the server's version, or the one at an absolute path, as the superuser `postgres`
    /// through the break-glass line.
    ///
    /// # Errors
    /// There is no account `postgres`.
    pub fn client(&self, program: impl AsRef<Path>) -> Result<Command> {
        let mut command = as_postgres(self.plan.binaries.join(program))?;
        command
            .args(["-U", "postgres", "-p", &self.port.to_string(), "-h"])
            .arg(&self.home)
            .stdin(Stdio::null());
        Ok(command)
    }

    /// The directory of its Unix socket.
    pub fn socket(&self) -> &Path {
        &self.home
    }

    pub fn connection_string(&self) -> String {
        format!(
            "host={} port={} user=postgres",
            self.socket().display(),
            self.port()
        )
    }

    /// The process id of the postmaster.
    ///
    /// # Errors
    /// It's stopped.
    pub fn postmaster(&self) -> Result<u32> {
        self.process
            .as_ref()
            .map(Owned::id)
            .ok_or_else(|| "the server is stopped".into())
    }

    /// The process id of a backend or worker whose process title contains `title`.
    ///
    /// # Errors
    /// It's stopped.
    pub fn child(&self, title: &str) -> Result<Option<u32>> {
        Ok(self.children(title)?.first().copied())
    }

    /// The process ids of all backends and workers whose process title contains `title`.
    ///
    /// # Errors
    /// It's stopped.
    pub fn children(&self, title: &str) -> Result<Vec<u32>> {
        let postmaster = self.postmaster()?;
        let children =
            fs::read_to_string(format!("/proc/{postmaster}/task/{postmaster}/children"))?;
        let mut found = Vec::new();
        for child in children.split_whitespace() {
            // It may have ended meanwhile.
            let of_child = fs::read(format!("/proc/{child}/cmdline")).unwrap_or_default();
            if String::from_utf8_lossy(&of_child).contains(title) {
                found.push(child.parse()?);
            }
        }
        Ok(found)
    }

    /// # Errors
    /// The operating system won't tell.
    pub fn is_running(&mut self) -> Result<bool> {
        self.process.as_mut().map_or(Ok(false), Owned::is_running)
    }

    /// Starts it again, and waits until it takes connections.
    ///
    /// # Errors
    /// It doesn't start; the error ends with its log.
    pub fn start(&mut self) -> Result<()> {
        let mark = self.log_length()?;
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.log_file())?;
        let mut command = self.command()?;
        command
            .arg("-D")
            .arg(self.data())
            .args(&self.plan.arguments)
            .envs(&self.plan.environment)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        self.process = Some(Owned::start(&self.plan.name, &mut command, Signal::QUIT)?);
        self.wait_until_ready(mark)
    }

    /// Stops it as `pg_ctl stop -m fast` does.
    ///
    /// # Errors
    /// It goes on, or it doesn't end in good order, with a checkpoint; the error ends with its log.
    pub fn stop(&mut self) -> Result<()> {
        let mark = self.log_length()?;
        self.sessions.close();
        let Some(mut process) = self.process.take() else {
            return Ok(());
        };
        let ended = process.end(Signal::INT)?;
        if ended.success() {
            return Ok(());
        }
        Err(format!("the server: {ended}\n{}", self.log_since(mark)?).into())
    }

    /// Stops it with a signal to the postmaster: `INT` is a fast shutdown, `QUIT` an immediate one.
    ///
    /// # Errors
    /// It goes on.
    pub fn stop_with(&mut self, how: Signal) -> Result<()> {
        self.sessions.close();
        match self.process.take() {
            Some(mut process) => process.end(how).map(drop),
            None => Ok(()),
        }
    }

    /// # Errors
    /// It doesn't stop, or doesn't start.
    pub fn restart(&mut self) -> Result<()> {
        self.stop()?;
        self.start()
    }

    /// Changes settings and reloads. Connections made from now on see them; background workers a
    /// moment later.
    ///
    /// # Errors
    /// The server cannot be asked.
    pub fn configure(&mut self, changes: &[(&str, Option<&str>)]) -> Result<()> {
        for (name, value) in changes {
            match value {
                Some(value) => self
                    .plan
                    .settings
                    .insert((*name).to_owned(), (*value).to_owned()),
                None => self.plan.settings.remove(*name),
            };
        }
        self.write_configuration()?;
        self.reload()
    }

    /// Changes the lines of `pg_hba.conf` and reloads.
    ///
    /// # Errors
    /// The server cannot be asked.
    pub fn set_hba(&mut self, lines: &[&str]) -> Result<()> {
        self.plan.hba = lines.iter().map(|line| (*line).to_owned()).collect();
        self.write_configuration()?;
        self.reload()
    }

    /// Reloads the configuration and waits until new connections see it.
    ///
    /// # Errors
    /// The server cannot be asked.
    pub fn reload(&self) -> Result<()> {
        // Of a new session each time: its configuration is the one that the postmaster has read.
        let loaded = || {
            self.sessions.close();
            self.sql("SELECT pg_conf_load_time()")
        };
        let before = loaded()?;
        signal(self.postmaster()?, Signal::HUP)?;
        until("the configuration is reloaded", || {
            Ok((loaded()? != before).then_some(()))
        })?;
        self.sessions.close();
        Ok(())
    }

    /// Writes the configuration without telling the server, for the next start.
    ///
    /// # Errors
    /// The data directory isn't writable.
    pub fn write_configuration(&self) -> Result<()> {
        let mut settings = vec![
            ("port".to_owned(), self.port.to_string()),
            ("listen_addresses".to_owned(), "127.0.0.1".to_owned()),
            (
                "unix_socket_directories".to_owned(),
                self.home.display().to_string(),
            ),
            (
                "ssl".to_owned(),
                if self.plan.tls.is_some() { "on" } else { "off" }.to_owned(),
            ),
            ("fsync".to_owned(), "off".to_owned()),
            ("shared_buffers".to_owned(), "16MB".to_owned()),
            ("log_connections".to_owned(), "on".to_owned()),
            ("log_line_prefix".to_owned(), "%m [%p] ".to_owned()),
        ];
        if self.plan.route == Route::HbaFile {
            settings.push(("aadauth.hba_file".to_owned(), ALTERNATE_HBA_FILE.to_owned()));
        }
        settings.extend(self.plan.settings.clone());
        let settings: String = settings
            .iter()
            .map(|(name, value)| format!("{name} = '{}'\n", value.replace('\'', "''")))
            .collect();
        self.write("postgresql.conf", &settings)?;
        let major = major_of(&self.plan.binaries.join("pg_config"))?;
        let lines = self.plan.hba.iter();
        let lines: Vec<String> = lines.map(|line| line.replace(MAJOR, &major)).collect();
        for (name, lines) in self.plan.route.files(&lines) {
            self.write(name, &lines)?;
        }
        Ok(())
    }

    /// Runs SQL as the superuser `postgres` through the break-glass line, in a session that earlier
    /// statements may have used; what `psql -At` prints.
    ///
    /// # Errors
    /// A statement fails; the error has the server's message.
    pub fn sql(&self, sql: &str) -> Result<String> {
        self.sql_in("postgres", sql)
    }

    /// [`Server::sql`] in a new session, for a test to which the sign-in matters.
    ///
    /// # Errors
    /// As [`Server::sql`].
    pub fn sql_in_new_session(&self, sql: &str) -> Result<String> {
        self.sessions.close();
        self.sql(sql)
    }

    /// [`Server::sql`] for statements that lock the extension's tables beside its workers: run again where PostgreSQL has
    /// ended a deadlock with one of them by an ERROR.
    ///
    /// # Errors
    /// As [`Server::sql`].
    pub fn sql_beside_workers(&self, sql: &str) -> Result<String> {
        let mut outcome = self.sql(sql);
        for _ in 0..5 {
            match &outcome {
                Err(error) if error.to_string().contains("40P01") => outcome = self.sql(sql),
                _ => break,
            }
        }
        outcome
    }

    /// [`Server::sql`] in another database.
    ///
    /// # Errors
    /// As [`Server::sql`].
    pub fn sql_in(&self, database: &str, sql: &str) -> Result<String> {
        self.sessions.run(&self.socket_file(), database, sql)
    }

    /// A session of the superuser's for a caller that keeps it.
    ///
    /// # Errors
    /// The server takes no connection.
    pub fn superuser(&self) -> Result<Connection> {
        self.superuser_in("postgres")
    }

    /// [`Server::superuser`] in another database.
    ///
    /// # Errors
    /// As [`Server::superuser`].
    pub fn superuser_in(&self, database: &str) -> Result<Connection> {
        superuser::open(&self.socket_file(), database)
    }

    fn socket_file(&self) -> PathBuf {
        self.socket().join(format!(".s.PGSQL.{}", self.port))
    }

    /// What the server has logged so far.
    ///
    /// # Errors
    /// The file can't be read.
    pub fn log(&self) -> Result<String> {
        self.log_since(0)
    }

    /// How many bytes it has logged so far.
    ///
    /// # Errors
    /// The file is there and can't be looked at.
    pub fn log_length(&self) -> Result<usize> {
        match fs::metadata(self.log_file()) {
            Ok(file) => Ok(usize::try_from(file.len())?),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(0),
            Err(error) => Err(error.into()),
        }
    }

    /// What it has logged since the log was `mark` bytes long.
    ///
    /// # Errors
    /// The file can't be read.
    pub fn log_since(&self, mark: usize) -> Result<String> {
        let mut file = match fs::File::open(self.log_file()) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(String::new()),
            Err(error) => return Err(error.into()),
        };
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(u64::try_from(mark)?))?;
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Waits for a line that contains `text`, logged since the log was `mark` bytes long.
    ///
    /// # Errors
    /// It doesn't come.
    pub fn wait_for_log(&self, mark: usize, text: &str) -> Result<String> {
        until(&format!("{} logs {text:?}", self.plan.name), || {
            let log = self.log_since(mark)?;
            Ok(log
                .lines()
                .find(|line| line.contains(text))
                .map(str::to_owned))
        })
    }

    /// Kills a process of the server, and waits until the server has recovered from it.
    ///
    /// # Errors
    /// It doesn't recover.
    pub fn crash(&mut self, process: u32) -> Result<()> {
        let mark = self.log_length()?;
        signal(process, Signal::KILL)?;
        self.recovered(mark)
    }

    /// Waits until the server has recovered from a crash that the log has after `mark` bytes.
    ///
    /// # Errors
    /// It doesn't recover.
    pub fn recovered(&mut self, mark: usize) -> Result<()> {
        self.wait_until_ready(mark)
    }

    fn wait_until_ready(&mut self, mark: usize) -> Result<()> {
        until("the server takes connections", || {
            let log = self.log_since(mark)?;
            if log.contains("database system is ready to accept") {
                return Ok(Some(()));
            }
            if !self.is_running()? {
                return Err(format!("{} did not start:\n{log}", self.plan.name).into());
            }
            Ok(None)
        })
    }

    fn command(&self) -> Result<Command> {
        let postgres = self.plan.binaries.join("postgres");
        if self.plan.mounts.is_empty() {
            return as_postgres(postgres);
        }
        let (user, group) = postgres_account()?;
        let mounts: String = self
            .plan
            .mounts
            .iter()
            .map(|(seen, place)| {
                format!(
                    "mount --bind '{}' '{}' && ",
                    seen.display(),
                    place.display()
                )
            })
            .collect();
        let script = format!(
            "{mounts} exec setpriv --reuid={user} --regid={group} --clear-groups '{}' \"$@\"",
            postgres.display()
        );
        let mut command = Command::new("unshare");
        command.args([
            "--mount",
            "--propagation",
            "private",
            "sh",
            "-c",
            &script,
            "sh",
        ]);
        command.current_dir("/");
        Ok(command)
    }

    fn write(&self, name: &str, content: &str) -> Result<()> {
        let path = self.data().join(name);
        fs::write(&path, content)?;
        give_to_server(&path)
    }

    /// For the reader of a failed test.
    fn keep_log(&self) {
        let Ok(directory) = kept_logs() else { return };
        let _ = fs::create_dir_all(&directory);
        let _ = fs::copy(
            self.log_file(),
            directory.join(format!("{}.log", self.plan.name)),
        );
    }

    fn log_file(&self) -> PathBuf {
        self.home.join("server.log")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let stopped = self.stop_with(Signal::QUIT);
        self.keep_log();
        if stopped.is_ok() {
            let _ = fs::remove_dir_all(&self.home);
        }
    }
}

/// Where the log of each server remains, by its name, until another server of that name stops: a directory for each
/// version and method.
///
/// # Errors
/// The version or the method of the servers under test is not known.
pub fn kept_logs() -> Result<PathBuf> {
    let method = match Route::of_environment()? {
        Route::Pam => "pam",
        Route::HbaFile => "hba-file",
    };
    Ok(target().join(format!("logs/servers/{}-{method}", major()?)))
}
