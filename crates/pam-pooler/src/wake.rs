//! Ends PgBouncer's wait after a login. Its main loop looks for finished logins only when something else happens, and
//! otherwise every 333 ms (`pam_poll` in main.c and janitor.c). A connection to its own Unix socket, closed at once, is
//! something; it is logged nowhere.

use std::os::fd::OwnedFd;
use std::sync::mpsc::{Sender, channel};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketAddrAny, SocketFlags, SocketType, connect, socket_with};

use crate::ffi::system;
use crate::process::{self, OfProcess};

/// When it is done, after libpam has begun to end the login: PgBouncer notes the outcome a moment later, and may be held up.
const TIMES: [Duration; 2] = [Duration::from_micros(200), Duration::from_millis(2)];

/// How often the socket is looked for, at most.
const LOOK: Duration = Duration::from_secs(1);

/// Wakes PgBouncer up soon. Called at the end of a login.
pub fn soon() {
    static ENDED: OfProcess<Sender<Instant>> = OfProcess::new();
    let ended = ENDED.get(|| {
        let (send, receive) = channel();
        process::start("aadauth-wake", move || {
            let mut socket = ListeningSocket::default();
            for time in receive {
                wake_at(time, &mut socket);
            }
        })?;
        Ok(send)
    });
    // Without the thread, the login only takes longer.
    if let Ok(ended) = ended {
        let _ = ended.send(Instant::now());
    }
}

fn wake_at(ended: Instant, socket: &mut ListeningSocket) {
    for time in TIMES {
        sleep((ended + time).saturating_duration_since(Instant::now()));
        socket.touch();
    }
}

/// PgBouncer's Unix socket.
#[derive(Default)]
struct ListeningSocket {
    address: Option<SocketAddrAny>,
    looked: Option<Instant>,
}

impl ListeningSocket {
    /// Connects and closes. PgBouncer may have no such socket; then it is woken by its timer.
    fn touch(&mut self) {
        if let Some(address) = &self.address
            && connect_to(address).is_ok()
        {
            return;
        }
        let now = Instant::now();
        if self.looked.is_some_and(|looked| now < looked + LOOK) {
            return;
        }
        self.looked = Some(now);
        self.address = system::listening_unix_socket();
        if let Some(address) = &self.address {
            let _ = connect_to(address);
        }
    }
}

/// Does not wait for a place in the queue of connections: if it is full, PgBouncer has enough to wake it.
fn connect_to(address: &SocketAddrAny) -> rustix::io::Result<()> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket: OwnedFd = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    match connect(&socket, address) {
        Err(rustix::io::Errno::AGAIN) => Ok(()),
        result => result,
    }
}
