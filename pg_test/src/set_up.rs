//! Data directories and ports for servers, and their start.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU16, Ordering};

use crate::Result;
use crate::place::{RunDirectory, give_to_server};
use crate::plan::Plan;
use crate::process::{as_postgres, checked};
use crate::route::Route;
use crate::server::Server;

impl Plan {
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

    /// [`Plan::start`] with the data directory that `make_data` makes.
    ///
    /// # Errors
    /// As [`Plan::start`], and those of `make_data`.
    pub fn start_with(
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
        let server = Server::new(self, home, port);
        server.write_configuration()?;
        Ok(server)
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
