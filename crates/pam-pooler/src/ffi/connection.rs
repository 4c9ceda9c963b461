//! The connection to the server, by libpq.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use pq_sys as pq;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{Shutdown, shutdown};

use crate::connection_thread::{Connect, Connection, Failure};
use crate::exchange::{Question, Reply, Stop, Verdict};
use crate::settings::Settings;

/// Finds the function, and only one that a superuser has installed with the extension.
const LOOK_UP: &CStr = c"\
SET search_path = pg_catalog, pg_temp;
SELECT p.oid
FROM pg_catalog.pg_proc p
    JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
    JOIN pg_catalog.pg_language l ON l.oid = p.prolang
    JOIN pg_catalog.pg_roles r ON r.oid = p.proowner
    JOIN pg_catalog.pg_depend d ON d.objid = p.oid
        AND d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass
        AND d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass
        AND d.deptype = 'e'
    JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid
WHERE n.nspname = 'aadauth' AND p.proname = 'pooler_check' AND p.proargtypes = '17 17 25'
    AND p.prorettype = 23 AND NOT p.proretset AND l.lanname = 'c' AND r.rolsuper AND e.extname = 'aadauth'";

/// What a FunctionCall message has beside the bytes of three arguments: 29 bytes.
const OVERHEAD: usize = 29;

/// How often a closed socket is read, at most, until its end is found: what the server said before comes first.
const READS: usize = 8;

pub struct Connector;

impl Connect for Connector {
    type Connection = Libpq;

    fn connect(&self, settings: &Settings) -> Result<Libpq, String> {
        Libpq::connect(&settings.server)
    }
}

/// A connection. It stays in one thread; only its socket is shared, to be shut down.
pub struct Libpq {
    raw: NonNull<pq::PGconn>,
    /// The object id of the function, in this connection only.
    function: Option<c_int>,
    /// How many bytes of libpq's buffer may have a credential.
    dirty: usize,
    /// The server's last NOTICE. libpq has its address, too.
    notice: Arc<Mutex<Option<String>>>,
    /// A duplicate of libpq's socket: shutting it down never meets another file of the same number.
    socket: Arc<OwnedFd>,
}

impl Libpq {
    fn connect(conninfo: &str) -> Result<Libpq, String> {
        let conninfo = CString::new(conninfo).map_err(|error| error.to_string())?;
        // SAFETY: a NUL-terminated string.
        let raw = unsafe { pq::PQconnectdb(conninfo.as_ptr()) };
        let raw = NonNull::new(raw).ok_or("out of memory")?;
        // SAFETY: a connection, open or not. The state of one that is not being opened is OK or BAD.
        let status = unsafe { pq::PQstatus(raw.as_ptr()) };
        let socket = if status == pq::ConnStatusType::CONNECTION_OK {
            duplicate(raw)
        } else {
            Err(message(raw))
        };
        let socket = match socket {
            Ok(socket) => Arc::new(socket),
            Err(error) => {
                // SAFETY: the connection, which nothing refers to any more.
                unsafe { pq::PQfinish(raw.as_ptr()) };
                return Err(error);
            }
        };
        let notice = Arc::new(Mutex::new(None));
        let argument = Arc::as_ptr(&notice).cast_mut().cast();
        // SAFETY: the argument is what the receiver expects, and `Libpq` keeps it until after PQfinish.
        unsafe { pq::PQsetNoticeReceiver(raw.as_ptr(), Some(receive_notice), argument) };
        Ok(Libpq {
            raw,
            function: None,
            dirty: 0,
            notice,
            socket,
        })
    }

    fn is_good(&self) -> bool {
        // SAFETY: the connection is open until it is dropped; its state is OK or BAD.
        unsafe { pq::PQstatus(self.raw.as_ptr()) == pq::ConnStatusType::CONNECTION_OK }
    }

    /// What was wrong, by libpq's own state.
    fn failure(&self, result: *const pq::PGresult) -> Failure {
        if !self.is_good() {
            return Failure::Broken(message(self.raw));
        }
        match field(result, pq::PG_DIAG_SQLSTATE).as_deref() {
            Some("42883") => Failure::UnknownFunction,
            // Not its text: what the server says about a function's arguments is not for a log.
            Some(sqlstate) => Failure::Error(format!("error of the server, SQLSTATE {sqlstate}")),
            None => Failure::Broken(message(self.raw)),
        }
    }

    /// Waits until the server has sent something.
    fn wait(&self, until: Instant) -> Result<(), Failure> {
        let time = until.saturating_duration_since(Instant::now());
        let mut sockets = [PollFd::new(&*self.socket, PollFlags::IN)];
        let time = Timespec::try_from(time).map_err(|error| Failure::Broken(error.to_string()))?;
        match poll(&mut sockets, Some(&time)) {
            Ok(0) => Err(Failure::Broken("no answer from the server".to_owned())),
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(Failure::Broken(error.to_string())),
        }
    }
}

impl Connection for Libpq {
    fn is_open(&self) -> bool {
        for _ in 0..READS {
            match self.wait(Instant::now()) {
                // Nothing to read: it would say if it had ended.
                Err(_) => break,
                // SAFETY: the connection is open until it is dropped.
                Ok(()) if unsafe { pq::PQconsumeInput(self.raw.as_ptr()) } == 0 => return false,
                Ok(()) => (),
            }
        }
        self.is_good()
    }

    fn look_up(&mut self, limit: Duration) -> Result<(), Failure> {
        let until = Instant::now() + limit;
        self.function = None;
        // Spaces at the end overwrite what is left of credentials in the buffer that libpq sends from: it begins each
        // message at its start, and does not wipe it. Nothing overwrites it when the connection breaks.
        let mut query = LOOK_UP.to_bytes().to_vec();
        query.resize(query.len().max(self.dirty), b' ');
        let query = CString::new(query).map_err(|error| Failure::Error(error.to_string()))?;
        // SAFETY: the connection is open until it is dropped; the query is NUL-terminated.
        if unsafe { pq::PQsendQuery(self.raw.as_ptr(), query.as_ptr()) } == 0 {
            return Err(Failure::Broken(message(self.raw)));
        }
        self.dirty = 0;
        let mut found = Err(Failure::Error(
            "the server has no function aadauth.pooler_check that belongs to extension aadauth"
                .to_owned(),
        ));
        loop {
            // SAFETY: as before.
            while unsafe { pq::PQisBusy(self.raw.as_ptr()) } == 1 {
                self.wait(until)?;
                // SAFETY: as before.
                if unsafe { pq::PQconsumeInput(self.raw.as_ptr()) } == 0 {
                    return Err(Failure::Broken(message(self.raw)));
                }
            }
            // SAFETY: as before; it does not wait, for it is not busy.
            let Some(result) = Answer::new(unsafe { pq::PQgetResult(self.raw.as_ptr()) }) else {
                break;
            };
            match result.status() {
                pq::ExecStatusType::PGRES_TUPLES_OK => {
                    if let Some(function) = result.object_id() {
                        self.function = Some(function);
                        found = Ok(());
                    }
                }
                pq::ExecStatusType::PGRES_COMMAND_OK => (),
                _ => found = Err(self.failure(result.0.as_ptr())),
            }
        }
        found
    }

    fn ask(&mut self, question: &Question) -> Result<Reply, Failure> {
        let function = self.function.ok_or(Failure::UnknownFunction)?;
        take(&self.notice);
        let arguments = [
            argument(&question.role)?,
            argument(&question.credential)?,
            argument(question.client.as_bytes())?,
        ];
        let lengths = [
            OVERHEAD,
            question.role.len(),
            question.credential.len(),
            question.client.len(),
        ];
        self.dirty = self.dirty.max(lengths.iter().sum());
        let mut value: c_int = -1;
        let mut length: c_int = -1;
        // SAFETY: the connection is open until it is dropped. The arguments point to bytes of the question, which
        // outlives the call, and are only read. The result is asked for as an integer: libpq writes one c_int (PQfn in
        // its manual).
        let result = unsafe {
            pq::PQfn(
                self.raw.as_ptr(),
                function,
                &raw mut value,
                &raw mut length,
                1,
                arguments.as_ptr(),
                3,
            )
        };
        let Some(result) = Answer::new(result) else {
            return Err(Failure::Broken(message(self.raw)));
        };
        if result.status() != pq::ExecStatusType::PGRES_COMMAND_OK {
            return Err(self.failure(result.0.as_ptr()));
        }
        let verdict = match (length, value) {
            (4, 0) => Verdict::Refused,
            (4, 1) => Verdict::Accepted,
            (4, 2) => Verdict::TryAgain,
            _ => {
                return Err(Failure::Error(
                    "the server gave an unknown verdict".to_owned(),
                ));
            }
        };
        Ok(Reply {
            verdict,
            notice: take(&self.notice),
        })
    }

    fn stop(&self) -> Stop {
        let socket = Arc::clone(&self.socket);
        Arc::new(move || {
            // It may be closed at the other end already.
            let _ = shutdown(&*socket, Shutdown::Both);
        })
    }
}

impl Drop for Libpq {
    fn drop(&mut self) {
        // SAFETY: the connection, which nobody uses any more. `notice` is dropped after it.
        unsafe { pq::PQfinish(self.raw.as_ptr()) };
    }
}

/// A result of libpq's, freed when it is dropped.
struct Answer(NonNull<pq::PGresult>);

impl Answer {
    fn new(result: *mut pq::PGresult) -> Option<Answer> {
        NonNull::new(result).map(Answer)
    }

    /// Of a plain query or a function call: libpq knows more states, none of which these have.
    fn status(&self) -> pq::ExecStatusType {
        // SAFETY: a result that has not been freed.
        unsafe { pq::PQresultStatus(self.0.as_ptr()) }
    }

    /// The object id that a query for one has returned.
    fn object_id(&self) -> Option<c_int> {
        // SAFETY: a result that has not been freed.
        if unsafe { pq::PQntuples(self.0.as_ptr()) } != 1 {
            return None;
        }
        // SAFETY: it has one row, and the query one column; the value is NUL-terminated and lives as long as the
        // result.
        let text = unsafe { CStr::from_ptr(pq::PQgetvalue(self.0.as_ptr(), 0, 0)) };
        let object_id: u32 = text.to_str().ok()?.parse().ok()?;
        // PQfn takes a c_int for what is an Oid.
        Some(object_id.cast_signed())
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        // SAFETY: a result that has not been freed.
        unsafe { pq::PQclear(self.0.as_ptr()) };
    }
}

fn argument(bytes: &[u8]) -> Result<pq::PQArgBlock, Failure> {
    let len = c_int::try_from(bytes.len()).map_err(|error| Failure::Error(error.to_string()))?;
    Ok(pq::PQArgBlock {
        len,
        isint: 0,
        u: pq::PQArgBlock__bindgen_ty_1 {
            ptr: bytes.as_ptr().cast_mut().cast(),
        },
    })
}

fn duplicate(raw: NonNull<pq::PGconn>) -> Result<OwnedFd, String> {
    // SAFETY: an open connection.
    let socket = unsafe { pq::PQsocket(raw.as_ptr()) };
    if socket < 0 {
        return Err("the connection has no socket".to_owned());
    }
    // SAFETY: an open file, which libpq does not close before this function returns.
    let socket = unsafe { BorrowedFd::borrow_raw(socket) };
    socket
        .try_clone_to_owned()
        .map_err(|error| error.to_string())
}

/// libpq's message about what failed last.
fn message(raw: NonNull<pq::PGconn>) -> String {
    // SAFETY: a connection; the message is NUL-terminated and copied before libpq is called again.
    let message = unsafe { CStr::from_ptr(pq::PQerrorMessage(raw.as_ptr())) };
    let message = message.to_string_lossy();
    message.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn field(result: *const pq::PGresult, code: u8) -> Option<String> {
    // SAFETY: a result that has not been freed, or NULL, of which libpq returns NULL.
    let text: *const c_char = unsafe { pq::PQresultErrorField(result, c_int::from(code)) };
    if text.is_null() {
        return None;
    }
    // SAFETY: NUL-terminated, and lives as long as the result.
    let text = unsafe { CStr::from_ptr(text) };
    Some(text.to_string_lossy().into_owned())
}

fn take(notice: &Mutex<Option<String>>) -> Option<String> {
    notice.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// libpq calls it for each NOTICE and WARNING, within a call of ours. The last NOTICE counts.
unsafe extern "C" fn receive_notice(argument: *mut c_void, result: *const pq::PGresult) {
    // A panic must not reach libpq.
    let _ = catch_unwind(AssertUnwindSafe(|| {
        if field(result, pq::PG_DIAG_SEVERITY_NONLOCALIZED).as_deref() != Some("NOTICE") {
            return;
        }
        let text = field(result, pq::PG_DIAG_MESSAGE_PRIMARY);
        // SAFETY: what PQsetNoticeReceiver was given, which lives until after PQfinish.
        let notice = unsafe { &*argument.cast_const().cast::<Mutex<Option<String>>>() };
        *notice.lock().unwrap_or_else(PoisonError::into_inner) = text;
    }));
}

#[cfg(test)]
mod tests;
