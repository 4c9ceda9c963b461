//! A relay between the module and the server, which can lose an answer.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use pg_test::Result;

pub struct Relay {
    pub port: u16,
    loses_answer: Arc<AtomicBool>,
}

impl Relay {
    /// Starts one to a port of this machine. It goes on until the program ends.
    pub fn start(to: u16) -> Result<Relay> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        let loses_answer = Arc::new(AtomicBool::new(false));
        let loses = Arc::clone(&loses_answer);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                // What fails here is a connection that breaks.
                let _ = relay(client, to, &loses);
            }
        });
        Ok(Relay { port, loses_answer })
    }

    /// The next thing that the server says is lost, and the connection ends with it.
    pub fn lose_next_answer(&self) {
        self.loses_answer.store(true, Ordering::SeqCst);
    }

    pub fn has_lost_it(&self) -> bool {
        !self.loses_answer.load(Ordering::SeqCst)
    }
}

fn relay(client: TcpStream, to: u16, loses: &Arc<AtomicBool>) -> Result<()> {
    let server = TcpStream::connect((Ipv4Addr::LOCALHOST, to))?;
    let (from_client, to_server) = (client.try_clone()?, server.try_clone()?);
    thread::spawn(move || pass(from_client, to_server, || false));
    let loses = Arc::clone(loses);
    thread::spawn(move || pass(server, client, || loses.swap(false, Ordering::SeqCst)));
    Ok(())
}

/// Passes on what comes until one side ends, or until something is to be lost.
fn pass(mut from: TcpStream, mut to: TcpStream, loses: impl Fn() -> bool) {
    let mut buffer = [0; 8_192];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        if loses() || to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    for socket in [from, to] {
        // The other thread may have done so.
        let _ = socket.shutdown(Shutdown::Both);
    }
}
