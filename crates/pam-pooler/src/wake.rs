//! Ends PgBouncer's wait after a login. Its main loop looks for finished logins only when something else happens, and
//! otherwise every 333 ms (`pam_poll` in main.c and janitor.c). A connection to its own Unix socket, closed at once, is
//! something; it is logged nowhere. With its queue of 19 logins full, PgBouncer sleeps for 100 ms at a time
//! (`pam_auth_begin` in pam.c), which only a signal ends.

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketAddrAny, SocketFlags, SocketType, connect, socket_with};

use crate::ffi::system::{self, ListeningSocket};
use crate::process::{self, OfProcess};

/// When it is done, after libpam has begun to end the login: PgBouncer notes the outcome a moment later, and may be
/// held up.
const TIMES: [Duration; 2] = [Duration::from_micros(200), Duration::from_millis(2)];

/// How often the socket is looked for, at most.
const LOOK: Duration = Duration::from_secs(1);

/// With nothing to do.
const LONG: Duration = Duration::from_secs(3_600);

/// The end of a login.
struct Ended {
    at: Instant,
    signal: bool,
}

/// Wakes PgBouncer up soon, with a signal as well if `signal`. Called at the end of a login.
pub fn soon(signal: bool) {
    static ENDED: OfProcess<Sender<Ended>> = OfProcess::new();
    let ended = ENDED.get(|| {
        let (send, receive) = channel();
        process::start("aadauth-wake", move || run(&receive))?;
        Ok(send)
    });
    // Without the thread, the login only takes longer.
    if let Ok(ended) = ended {
        let at = Instant::now();
        let _ = ended.send(Ended { at, signal });
    }
}

/// Wakes PgBouncer up at the times that are due after each login: once for all that are due together.
fn run(logins: &Receiver<Ended>) {
    let mut own = OwnSocket::default();
    let mut due = BTreeSet::new();
    let mut signal = false;
    loop {
        let now = Instant::now();
        let time = due
            .first()
            .map_or(LONG, |first: &Instant| first.saturating_duration_since(now));
        match logins.recv_timeout(time) {
            Ok(ended) => {
                due.extend(TIMES.map(|time| ended.at + time));
                signal = ended.signal;
            }
            Err(RecvTimeoutError::Timeout) => {
                let now = Instant::now();
                let count = due.len();
                due.retain(|time| *time > now);
                if due.len() < count {
                    own.touch();
                    if signal {
                        system::interrupt_main_thread();
                    }
                }
            }
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// PgBouncer's Unix socket.
#[derive(Default)]
struct OwnSocket {
    socket: Option<ListeningSocket>,
    looked: Option<Instant>,
}

impl OwnSocket {
    /// Connects and closes, unless a connection waits to be accepted: that wakes PgBouncer up as well, and each takes one of
    /// the places of `max_client_conn` for a moment. PgBouncer may have no such socket; then its timer has to do.
    fn touch(&mut self) {
        if let Some(socket) = &self.socket
            && (socket.has_waiting_connection() || connect_to(&socket.address).is_ok())
        {
            return;
        }
        let now = Instant::now();
        if self.looked.is_some_and(|looked| now < looked + LOOK) {
            return;
        }
        self.looked = Some(now);
        self.socket = ListeningSocket::find();
        if let Some(socket) = &self.socket {
            let _ = connect_to(&socket.address);
        }
    }
}

/// Does not wait for a place in the queue of connections.
fn connect_to(address: &SocketAddrAny) -> rustix::io::Result<()> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket: OwnedFd = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    match connect(&socket, address) {
        Err(rustix::io::Errno::AGAIN) => Ok(()),
        result => result,
    }
}
