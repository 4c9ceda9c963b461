//! A PgBouncer before a server of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use pg_test::Result;
use pg_test::document::block_with;
use pg_test::pam;
use pg_test::place::{give_to_server, source, target};
use pg_test::plan::Plan;
use pg_test::process::{Owned, checked};
use pg_test::rig::{OUR_LINES, Rig, SignIn, answer};
use pg_test::server::Server;
use pg_test::set_up::free_port;
use pg_test::wait::until;
use pg_test::wire::{Connection, Outcome};
use rustix::process::Signal;
use uuid::Uuid;

use crate::version;

/// PgBouncer's databases, which differ in the pool's mode. All are `postgres` on the server.
pub const SESSION: &str = "by_session";
pub const TRANSACTION: &str = "by_transaction";
pub const STATEMENT: &str = "by_statement";
pub const MODES: [&str; 3] = [SESSION, TRANSACTION, STATEMENT];

/// One on another server than the one that the module asks.
pub const ELSEWHERE: &str = "elsewhere";

/// The pooler's role and the name in its certificate, in docs/pgbouncer.md, from which the files and the role come.
pub const ROLE: &str = "pgb1";
const NAME: &str = "pgb1.example.com";

pub struct Pooled<'a> {
    rig: &'a Rig,
    // PgBouncer is stopped before the server.
    pub pgbouncer: Owned,
    pub server: Server,
    pub home: PathBuf,
    pub port: u16,
    pam: pam::Directory,
}

impl Pooled<'_> {
    /// Starts a server, and a PgBouncer with that file of the module.
    pub fn start<'a>(
        rig: &'a Rig,
        name: &str,
        change: impl FnOnce(Plan) -> Plan,
    ) -> Result<Pooled<'a>> {
        Pooled::start_with(rig, name, change, "")
    }

    /// [`Pooled::start`], with these lines in PgBouncer's own file as well.
    pub fn start_with<'a>(
        rig: &'a Rig,
        name: &str,
        change: impl FnOnce(Plan) -> Plan,
        settings: &str,
    ) -> Result<Pooled<'a>> {
        let home = rig.run().for_server(&format!("pgbouncer-{name}"))?;
        let server = server(rig, name, &home, change)?;
        files(rig, &server, &home)?;
        let port = free_port()?;
        let ini = ini(&server, &rig.server, &home, port)?;
        fs::write(home.join("pgbouncer.ini"), ini + settings)?;
        let pam = rig.pam_directory(name)?;
        let pooled = Pooled {
            rig,
            pgbouncer: version::run(&pam, &home.join("pgbouncer.ini"), "")?,
            server,
            home,
            port,
            pam,
        };
        pooled.set_service(&pooled.module(), &pooled.module())?;
        // Long enough for a machine that does something else.
        pooled.configure("deadline = 2000")?;
        until("PgBouncer listens", || {
            Ok(pooled.log()?.contains("process up").then_some(()))
        })?;
        Ok(pooled)
    }

    /// Writes the module's configuration file: how to connect, and these lines.
    pub fn configure(&self, lines: &str) -> Result<()> {
        self.configure_through(self.server.port(), lines)
    }

    /// [`Pooled::configure`], with the server at another port.
    pub fn configure_through(&self, port: u16, lines: &str) -> Result<()> {
        let here = format!("host=localhost hostaddr=127.0.0.1 port={port}");
        let documented = documented("server = ")?.replace("host=db.example.com", &here);
        self.write_configuration(&documented, lines)
    }

    /// Writes that text of the documentation, with the paths of this PgBouncer, and these lines.
    pub fn write_configuration(&self, documented: &str, lines: &str) -> Result<()> {
        let file = self.configuration();
        let new = file.with_extension("new");
        let documented = documented
            .replace("/etc/aadauth", &self.home.display().to_string())
            .replace("deadline = 100\n", "");
        fs::write(&new, format!("{documented}{lines}\n"))?;
        Ok(fs::rename(new, file)?)
    }

    /// Starts another PgBouncer with that file, and more options.
    pub fn run(&self, ini: &Path, options: &str) -> Result<Owned> {
        version::run(&self.pam, ini, options)
    }

    /// The module with its argument, as a service file names it.
    pub fn module(&self) -> String {
        let home = self.home.display();
        format!("{home}/pam_aadauth.so conf={home}/pooler.conf")
    }

    /// Writes PgBouncer's service file, with one module of each kind.
    pub fn set_service(&self, auth: &str, account: &str) -> Result<()> {
        let lines = documented("auth     required")?;
        let (of_auth, of_account) = lines.split_once('\n').ok_or("one line only")?;
        let (of_auth, of_account) = (
            of_auth.replace("pam_aadauth.so", auth),
            of_account.replace("pam_aadauth.so", account),
        );
        self.pam
            .write("pgbouncer", &format!("{of_auth}\n{of_account}"))
    }

    /// Kills PgBouncer, and starts another.
    pub fn kill_and_start(&mut self) -> Result<()> {
        let starts = |log: &str| log.matches("process up").count();
        let before = starts(&self.log()?);
        self.pgbouncer.end(Signal::KILL)?;
        self.pgbouncer = self.run(&self.home.join("pgbouncer.ini"), "")?;
        until("PgBouncer listens again", || {
            Ok((starts(&self.log()?) > before).then_some(()))
        })
    }

    pub fn configuration(&self) -> PathBuf {
        self.home.join("pooler.conf")
    }

    /// What PgBouncer has logged.
    pub fn log(&self) -> Result<String> {
        let log = fs::read(self.home.join("pgbouncer.log")).unwrap_or_default();
        Ok(String::from_utf8_lossy(&log).into_owned())
    }

    /// How many of PgBouncer's connections to the server that role has.
    pub fn server_connections(&self, role: &str) -> Result<u32> {
        let count = self.server.sql(&format!(
            "SELECT count(*) FROM pg_stat_activity WHERE usename = '{role}' AND backend_type = 'client backend'"
        ))?;
        Ok(count.parse()?)
    }

    /// The process of the server that answers the module.
    pub fn standing_backend(&self) -> Result<u32> {
        let pids = self.server.sql(&format!(
            "SELECT pid FROM pg_stat_activity WHERE usename = '{ROLE}'"
        ))?;
        Ok(pids
            .parse()
            .map_err(|_| format!("backends of the module: {pids:?}"))?)
    }

    /// Signs in through PgBouncer.
    pub fn sign_in(&self, database: &str, role: &str, secret: &str) -> Result<SignIn> {
        let (connection, mark) = self.connect(database, role)?;
        answer(connection, mark, secret)
    }

    /// Signs in, and runs a query.
    pub fn query(&self, database: &str, role: &str, secret: &str, sql: &str) -> Result<String> {
        let mut connection = self.session(database, role, secret)?;
        Ok(connection.query(sql)?.join("\n"))
    }

    /// Signs in; the session stays open.
    pub fn session(&self, database: &str, role: &str, secret: &str) -> Result<Connection> {
        let (mut connection, _) = self.connect(database, role)?;
        connection.request()?;
        connection.password(secret.as_bytes())?;
        match connection.outcome()? {
            Outcome::In => Ok(connection),
            other => {
                let log = self.log()?;
                let end: Vec<_> = log
                    .lines()
                    .filter(|line| line.contains("WARNING"))
                    .collect();
                Err(format!("{role} was not let in: {other:?}\n{}", end.join("\n")).into())
            }
        }
    }

    /// Connects to PgBouncer's Unix socket.
    pub fn connect_locally(&self, database: &str, role: &str) -> Result<Connection> {
        let socket = self.home.join(format!(".s.PGSQL.{}", self.port));
        Connection::open_local(&socket, &[("user", role), ("database", database)])
    }

    fn connect(&self, database: &str, role: &str) -> Result<(Connection, String)> {
        let mark = format!("test-{}", Uuid::new_v4().simple());
        let parameters = [
            ("user", role),
            ("database", database),
            ("application_name", mark.as_str()),
        ];
        let connection = Connection::open(self.port, Some(&self.rig.tls), &parameters)?;
        Ok((connection, mark))
    }
}

impl Drop for Pooled<'_> {
    fn drop(&mut self) {
        let _ = self.pgbouncer.end(Signal::TERM);
        let _ = fs::remove_dir_all(&self.home);
    }
}

/// A server that knows the pooler by its certificate; `home` is PgBouncer's.
pub fn server(
    rig: &Rig,
    name: &str,
    home: &Path,
    change: impl FnOnce(Plan) -> Plan,
) -> Result<Server> {
    let ident = home.join("pg_ident.conf");
    fs::write(&ident, documented(&format!("pooler  {NAME}"))?)?;
    let line = documented("hostssl  postgres")?.replace("192.0.2.10/32", "all");
    let server = rig.server(name, |plan| {
        let lines = [line.trim_end(), OUR_LINES[0], OUR_LINES[1]];
        let plan = plan
            .hba(&lines)
            .set("ident_file", &ident.display().to_string())
            .set(
                "ssl_ca_file",
                &rig.emulator.authorities().display().to_string(),
            );
        change(plan)
    })?;
    server.sql(&documented(&format!("CREATE ROLE {ROLE}"))?)?;
    Ok(server)
}

/// The module, and the certificate of the pooler.
fn files(rig: &Rig, server: &Server, home: &Path) -> Result<()> {
    let install = |from: &Path, to: &Path, mode: &str| -> Result<()> {
        checked(Command::new("install").args(["-m", mode]).arg(from).arg(to))?;
        give_to_server(to)
    };
    let module = target().join("release/libpam_aadauth.so");
    install(&module, &home.join("pam_aadauth.so"), "755")?;
    install(&rig.emulator.authorities(), &home.join("ca.crt"), "644")?;
    for name in ["server.crt", "server.key"] {
        install(&server.data().join(name), &home.join(name), "600")?;
    }
    let ca = rig.emulator.authorities();
    let script = format!(
        "cd \"$1\" && openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN={NAME} \
         -keyout pgb1.key -out pgb1.csr && openssl x509 -req -in pgb1.csr -CA \"$2\" -CAkey \"$3\" \
         -set_serial 2 -days 2 -out pgb1.crt"
    );
    checked(
        Command::new("sh")
            .args(["-ec", &script, "sh"])
            .arg(home)
            .arg(&ca)
            .arg(ca.with_file_name("ca.key")),
    )?;
    for name in ["pgb1.crt", "pgb1.key"] {
        give_to_server(&home.join(name))?;
    }
    Ok(())
}

fn ini(server: &Server, elsewhere: &Server, home: &Path, port: u16) -> Result<String> {
    let home = home.display().to_string();
    let database =
        |server: &Server| format!("host=127.0.0.1 port={} dbname=postgres", server.port());
    let (database, elsewhere) = (database(server), database(elsewhere));
    let documented = documented("[databases]")?;
    let (_, settings) = documented
        .split_once("[pgbouncer]\n")
        .ok_or("no settings")?;
    let settings = settings
        .replace("/etc/aadauth", &home)
        .replace("/var/run/postgresql", &home);
    Ok(format!(
        "[databases]
{SESSION} = {database} pool_mode=session
{TRANSACTION} = {database} pool_mode=transaction
{STATEMENT} = {database} pool_mode=statement
{ELSEWHERE} = {elsewhere}
[pgbouncer]
{settings}
listen_addr = 127.0.0.1
listen_port = {port}
logfile = {home}/pgbouncer.log
pidfile = {home}/pgbouncer.pid
max_client_conn = 90
"
    ))
}

/// The block of docs/pgbouncer.md that has this at the beginning of a line.
pub fn documented(begin: &str) -> Result<String> {
    let text = fs::read_to_string(source().join("docs/pgbouncer.md"))?;
    Ok(block_with(&text, begin)?.text)
}
