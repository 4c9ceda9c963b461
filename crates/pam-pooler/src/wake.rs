//! Ends PgBouncer's wait after a login. Its main loop looks for finished logins only when something else happens, and
//! otherwise every 333 ms (`pam_poll` in main.c and janitor.c). A connection to its own Unix socket, closed at once, is
//! something; it is logged nowhere. With its queue of 19 logins full, PgBouncer sleeps for 100 ms at a time
//! (`pam_auth_begin` in pam.c), which only a signal ends.

use std::os::fd::OwnedFd;
use std::sync::mpsc::{Sender, channel};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketAddrAny, SocketFlags, SocketType, connect, socket_with};

use crate::ffi::system;
use crate::process::{self, OfProcess};

/// When it is done, after libpam has begun to end the login: PgBouncer notes the outcome a moment later, and may be
/// held up.
const TIMES: [Duration; 2] = [Duration::from_micros(200), Duration::from_millis(2)];

/// How often the socket is looked for, at most.
const LOOK: Duration = Duration::from_secs(1);

/// Wakes PgBouncer up soon, with a signal as well if `signal`. Called at the end of a login.
pub fn soon(signal: bool) {
    static ENDED: OfProcess<Sender<(Instant, bool)>> = OfProcess::new();
    let ended = ENDED.get(|| {
        let (send, receive) = channel();
        process::start("aadauth-wake", move || {
            let mut socket = ListeningSocket::default();
            for (time, signal) in receive {
                wake_after(time, signal, &mut socket);
            }
        })?;
        Ok(send)
    });
    // Without the thread, the login only takes longer.
    if let Ok(ended) = ended {
        let _ = ended.send((Instant::now(), signal));
    }
}

fn wake_after(ended: Instant, signal: bool, socket: &mut ListeningSocket) {
    for time in TIMES {
        sleep((ended + time).saturating_duration_since(Instant::now()));
        socket.touch();
        if signal {
            system::interrupt_main_thread();
        }
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
