//! Sessions of the superuser `postgres`, kept between statements: most of what a test asks is a single `SELECT`, and
//! asks again until the answer has changed.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Mutex;

use rustix::process::{Uid, geteuid};
use rustix::thread::set_thread_res_uid;

use crate::Result;
use crate::process::postgres_account;
use crate::wire::{Connection, Outcome, READ_TIMEOUT};

/// The idle sessions of one server, by database.
#[derive(Default)]
pub struct Sessions(Mutex<BTreeMap<String, Vec<Session>>>);

impl Sessions {
    /// Runs SQL in a session that is idle, or in a new one; what `psql -At` prints.
    ///
    /// # Errors
    /// A statement fails, or the server takes no connection; the error reads as psql's.
    pub fn run(&self, socket: &Path, database: &str, sql: &str) -> Result<String> {
        if outlasts_statement(sql) {
            self.close();
            let answer = Session::open(socket, database)?.run(sql);
            self.close();
            return answer;
        }
        let mut session = match self.idle(database)? {
            Some(session) => session,
            None => Session::open(socket, database)?,
        };
        let answer = session.run(sql);
        if session.is_idle() {
            let mut idle = self.0.lock().map_err(|_| "a session was lost")?;
            idle.entry(database.to_owned()).or_default().push(session);
        }
        answer
    }

    /// Ends all that are idle. What sessions begin with has changed: a configuration, a database.
    pub fn close(&self) {
        if let Ok(mut idle) = self.0.lock() {
            idle.clear();
        }
    }

    fn idle(&self, database: &str) -> Result<Option<Session>> {
        let mut idle = self.0.lock().map_err(|_| "a session was lost")?;
        let of_database = idle.entry(database.to_owned()).or_default();
        while let Some(session) = of_database.pop() {
            if session.is_idle() {
                return Ok(Some(session));
            }
        }
        Ok(None)
    }
}

/// A session of the caller's own.
///
/// # Errors
/// The server takes no connection.
pub fn open(socket: &Path, database: &str) -> Result<Connection> {
    let session = Session::open(socket, database)?;
    session.socket.set_read_timeout(Some(READ_TIMEOUT))?;
    Ok(session.connection)
}

/// Whether a statement may leave something in its session, change what sessions begin with, or need that nobody is
/// connected to a database.
fn outlasts_statement(sql: &str) -> bool {
    const WORDS: &[&str] = &[
        "BEGIN",
        "DATABASE",
        "DISCARD",
        "LISTEN",
        "LOAD",
        "PREPARE",
        "RESET",
        "SET",
        "SET_CONFIG",
        "START",
        "TEMP",
        "TEMPORARY",
    ];
    sql.split(|character: char| !(character.is_alphanumeric() || character == '_'))
        .any(|word| {
            WORDS
                .iter()
                .any(|stateful| stateful.eq_ignore_ascii_case(word))
        })
}

struct Session {
    connection: Connection,
    /// Of the same connection, to see whether the server has said something unasked.
    socket: UnixStream,
}

impl Session {
    fn open(socket: &Path, database: &str) -> Result<Session> {
        let socket = connect_as_postgres(socket)?;
        let parameters = [
            ("user", "postgres"),
            ("database", database),
            ("application_name", "pg_test"),
        ];
        let mut connection = Connection::over_unix(socket.try_clone()?, &parameters)?;
        match connection.outcome()? {
            Outcome::In => {
                // Some statements take minutes.
                socket.set_read_timeout(None)?;
                Ok(Session { connection, socket })
            }
            Outcome::Refused(refusal) => Err(refusal.to_string().into()),
            Outcome::Closed => Err("the server closed the connection".into()),
        }
    }

    fn run(&mut self, sql: &str) -> Result<String> {
        let rows = self.connection.rows(sql)?;
        let rows: Vec<String> = rows.iter().map(|row| row.join("|")).collect();
        Ok(rows.join("\n").trim_end().to_owned())
    }

    /// Whether the server waits for a statement. It says something unasked when it ends the session, or when a
    /// setting has changed.
    fn is_idle(&self) -> bool {
        let mut socket = &self.socket;
        socket.set_nonblocking(true).is_ok()
            && matches!(socket.read(&mut [0]), Err(error) if error.kind() == ErrorKind::WouldBlock)
            && socket.set_nonblocking(false).is_ok()
    }
}

/// Connects as the account that the line for the tests lets in (`peer`): the user id of the thread counts while it
/// connects.
fn connect_as_postgres(socket: &Path) -> Result<UnixStream> {
    let (user, _) = postgres_account()?;
    let own = geteuid();
    set_thread_res_uid(None, Uid::from_raw(user), None)?;
    let connected = UnixStream::connect(socket);
    set_thread_res_uid(None, own, None)?;
    Ok(connected.map_err(|error| format!("{}: {error}", socket.display()))?)
}
