//! Throw-away PostgreSQL servers.

use std::collections::BTreeMap;
use std::fs;
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};

use rustix::process::Signal;

use crate::Result;
use crate::pam;
use crate::place::{RunDirectory, give_to_server, major_of, pg_config_says};
use crate::process::{Owned, as_postgres, checked, postgres_account, signal};
use crate::route::{ALTERNATE_HBA_FILE, Route};
use crate::superuser::Sessions;
use crate::wait::until;

/// Stands for the server's major version, where that is part of a text.
pub const MAJOR: &str = "{major}";

/// What a server is to be like.
#[derive(Clone)]
pub struct Plan {
    pub name: String,
    /// Where `postgres` and `initdb` are.
    pub binaries: PathBuf,
    /// The lines of `pg_hba.conf`, below the one that lets the tests in; [`MAJOR`] in them stands for
    /// the server's major version.
    pub hba: Vec<String>,
    pub settings: BTreeMap<String, String>,
    /// Files and directories that this server sees in place of others (the second of each pair),
    /// in a mount namespace of its own.
    pub mounts: Vec<(PathBuf, PathBuf)>,
    /// Of the command line, after what every server gets.
    pub arguments: Vec<String>,
    pub environment: BTreeMap<String, String>,
    /// Certificate and key, both PEM; without, the server speaks no TLS.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// How the lines of `hba` that are ours stand before the server, if it preloads the library.
    pub route: Route,
}

impl Plan {
    /// A server of the version under test, without our library.
    ///
    /// # Errors
    /// There is no `pg_config`.
    pub fn new(name: &str) -> Result<Plan> {
        Ok(Plan {
            name: name.to_owned(),
            binaries: PathBuf::from(pg_config_says("--bindir")?),
            hba: Vec::new(),
            settings: BTreeMap::new(),
            mounts: Vec::new(),
            arguments: Vec::new(),
            environment: BTreeMap::new(),
            tls: None,
            route: Route::of_environment()?,
        })
    }

    #[must_use]
    pub fn set(mut self, name: &str, value: &str) -> Plan {
        self.settings.insert(name.to_owned(), value.to_owned());
        self
    }

    #[must_use]
    pub fn unset(mut self, name: &str) -> Plan {
        self.settings.remove(name);
        self
    }

    #[must_use]
    pub fn hba(mut self, lines: &[&str]) -> Plan {
        self.hba = lines.iter().map(|line| (*line).to_owned()).collect();
        self
    }

    #[must_use]
    pub fn route(mut self, route: Route) -> Plan {
        self.route = route;
        self
    }

    #[must_use]
    pub fn argument(mut self, argument: &str) -> Plan {
        self.arguments.push(argument.to_owned());
        self
    }

    #[must_use]
    pub fn environment(mut self, name: &str, value: &str) -> Plan {
        self.environment.insert(name.to_owned(), value.to_owned());
        self
    }

    /// What the server sees as `/etc/pam.d`.
    #[must_use]
    pub fn pam(self, directory: &pam::Directory) -> Plan {
        self.mount(directory.path(), Path::new("/etc/pam.d"))
    }

    /// What the server sees in place of `place`.
    #[must_use]
    pub fn mount(mut self, seen: &Path, place: &Path) -> Plan {
        self.mounts.push((seen.to_owned(), place.to_owned()));
        self
    }

    /// Starts it and waits until it takes connections.
    ///
    /// # Errors
    /// It doesn't start; the error ends with its log.
    pub fn start(self, run: &RunDirectory) -> Result<Server> {
        let mut server = self.set_up(run)?;
        server.start()?;
        Ok(server)
    }

    /// Makes a server with a fresh data directory and its configuration, and doesn't start it.
    ///
    /// # Errors
    /// The data directory can't be made.
    pub fn set_up(self, run: &RunDirectory) -> Result<Server> {
        let template = template(run, &self.binaries)?;
        self.set_up_from(run, &template)
    }

    /// [`Plan::set_up`] with a copy of this data directory, whose server is stopped.
    ///
    /// # Errors
    /// As [`Plan::set_up`].
    pub fn set_up_from(self, run: &RunDirectory, template: &Path) -> Result<Server> {
        self.set_up_with(run, |data| {
            checked(Command::new("cp").arg("-a").arg(template).arg(data)).map(drop)
        })
    }

    /// [`Plan::start`] as a hot standby, from a base backup of `primary`, which it follows. The primary
    /// needs the line `local replication postgres peer`.
    ///
    /// # Errors
    /// As [`Plan::start`]; or the backup can't be taken.
    pub fn start_standby(self, run: &RunDirectory, primary: &Server) -> Result<Server> {
        let connection = primary.connection_string();
        let backup = self.binaries.join("pg_basebackup");
        self.set("primary_conninfo", &connection)
            .start_with(run, |data| {
                base_backup(&backup, &connection, data)?;
                let signal = data.join("standby.signal");
                fs::write(&signal, "")?;
                give_to_server(&signal)
            })
    }

    /// [`Plan::start`] from a base backup of `original`, as a server of its own.
    ///
    /// # Errors
    /// As [`Plan::start`]; or the backup can't be taken.
    pub fn start_copy(self, run: &RunDirectory, original: &Server) -> Result<Server> {
        let connection = original.connection_string();
        let backup = self.binaries.join("pg_basebackup");
        self.start_with(run, |data| base_backup(&backup, &connection, data))
    }

    fn start_with(
        self,
        run: &RunDirectory,
        make_data: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<Server> {
        let mut server = self.set_up_with(run, make_data)?;
        server.start()?;
        Ok(server)
    }

    fn set_up_with(
        mut self,
        run: &RunDirectory,
        make_data: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<Server> {
        let libraries = self.settings.get("shared_preload_libraries");
        if !libraries.is_some_and(|libraries| libraries.contains("aadauth")) {
            self.route = Route::Pam;
        }
        let home = run.for_server(&self.name)?;
        let data = home.join("data");
        make_data(&data)?;
        if let Some((certificate, key)) = &self.tls {
            for (from, name, mode) in [
                (certificate, "server.crt", "0644"),
                (key, "server.key", "0600"),
            ] {
                checked(
                    Command::new("install")
                        .args(["-m", mode])
                        .arg(from)
                        .arg(data.join(name)),
                )?;
                give_to_server(&data.join(name))?;
            }
        }
        let port = free_port()?;
        let server = Server {
            plan: self,
            home,
            port,
            process: None,
            sessions: Sessions::default(),
        };
        server.write_configuration()?;
        Ok(server)
    }
}

/// A running server; dropped, it stops, and its files are removed.
pub struct Server {
    plan: Plan,
    home: PathBuf,
    port: u16,
    process: Option<Owned>,
    sessions: Sessions,
}

impl Server {
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

    fn connection_string(&self) -> String {
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
    /// It goes on.
    pub fn stop(&mut self) -> Result<()> {
        self.stop_with(Signal::INT)
    }

    /// Stops it with a signal to the postmaster: `INT` is a fast shutdown, `QUIT` an immediate one.
    ///
    /// # Errors
    /// It goes on.
    pub fn stop_with(&mut self, how: Signal) -> Result<()> {
        self.sessions.close();
        match self.process.take() {
            Some(mut process) => process.end(how),
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
        let socket = self.socket().join(format!(".s.PGSQL.{}", self.port));
        self.sessions.run(&socket, database, sql)
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

    fn log_file(&self) -> PathBuf {
        self.home.join("server.log")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let stopped = self.stop_with(Signal::QUIT);
        if stopped.is_ok() {
            let _ = fs::remove_dir_all(&self.home);
        }
    }
}

/// A port of 127.0.0.1 that nobody listens on, and that isn't handed out again in this process.
///
/// It is below the ports that Linux gives to outgoing connections (`ip_local_port_range` begins at
/// 32768), so that none of those takes it before its server starts or while that restarts. Where the
/// count begins depends on the process id: two runs at once seldom try the same ports.
///
/// # Errors
/// All have been handed out, or somebody listens on what's left.
pub fn free_port() -> Result<u16> {
    const FIRST: u16 = 20_000;
    const COUNT: u16 = 12_000;
    static HANDED_OUT: AtomicU16 = AtomicU16::new(0);
    let start = (std::process::id() % 120) as u16 * (COUNT / 120);
    loop {
        let step = HANDED_OUT
            .try_update(Ordering::Relaxed, Ordering::Relaxed, |step| {
                (step < COUNT).then_some(step + 1)
            })
            .map_err(|_| "no port is free")?;
        let port = FIRST + (start + step) % COUNT;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
}

fn base_backup(program: &Path, connection: &str, data: &Path) -> Result<()> {
    let mut command = as_postgres(program)?;
    command.args(["--no-sync", "-c", "fast", "-d", connection, "-D"]);
    checked(command.arg(data)).map(drop)
}

/// A fresh data directory, made once per run and installation; servers start from copies.
fn template(run: &RunDirectory, binaries: &Path) -> Result<PathBuf> {
    static ONE_AT_A_TIME: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _guard = ONE_AT_A_TIME
        .lock()
        .map_err(|_| "another server could not be set up")?;
    let name: String = binaries.display().to_string().replace('/', "_");
    let home = run.path().join(format!("template{name}"));
    let data = home.join("data");
    if !data.exists() {
        let home = run.for_server(&format!("template{name}"))?;
        let mut initdb = as_postgres(binaries.join("initdb"))?;
        initdb.args([
            "-U",
            "postgres",
            "-E",
            "UTF8",
            "--locale=C.UTF-8",
            "--no-sync",
        ]);
        checked(
            initdb
                .arg("-A")
                .arg("reject")
                .arg("-D")
                .arg(home.join("data")),
        )?;
    }
    Ok(data)
}
