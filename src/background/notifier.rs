//! How a thread tells the worker's main thread that it has something for it.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};

/// A file that becomes readable when a thread has delivered something, or has ended without.
///
/// A thread must not set the latch of its process, which is PostgreSQL's.
pub struct Doorbell {
    inside: UnixStream,
    outside: Arc<UnixStream>,
}

/// A thread's right to deliver one value. Dropped, it rings as well, and then the receiver is
/// disconnected: so the main thread learns of a thread that panicked.
pub struct Delivery<T> {
    // In this order: whoever hears the bell finds the value, or the sender gone.
    sender: Sender<T>,
    _bell: Bell,
}

/// A thread's right to ring; dropped, it rings once more.
pub struct Bell(Arc<UnixStream>);

impl Doorbell {
    /// # Errors
    /// The process has no files left.
    pub fn new() -> io::Result<Doorbell> {
        let (inside, outside) = UnixStream::pair()?;
        inside.set_nonblocking(true)?;
        outside.set_nonblocking(true)?;
        Ok(Doorbell {
            inside,
            outside: Arc::new(outside),
        })
    }

    /// Makes it quiet until somebody rings again. To be called before looking what there is.
    pub fn silence(&self) {
        let mut rings = [0; 64];
        while (&self.inside).read(&mut rings).is_ok_and(|count| count > 0) {}
    }

    /// For a thread that delivers by a way of its own.
    pub fn bell(&self) -> Bell {
        Bell(Arc::clone(&self.outside))
    }

    /// What a thread is given, and where what it delivers arrives.
    pub fn delivery<T>(&self) -> (Delivery<T>, Receiver<T>) {
        let (sender, receiver) = mpsc::channel();
        let delivery = Delivery {
            sender,
            _bell: self.bell(),
        };
        (delivery, receiver)
    }
}

impl AsFd for Doorbell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inside.as_fd()
    }
}

impl<T> Delivery<T> {
    /// Delivers the value; nobody may want it any more.
    pub fn send(self, value: T) {
        let _ = self.sender.send(value);
    }
}

impl Bell {
    pub fn ring(&self) {
        // Where there is no room, it has been rung often enough.
        let _ = (&*self.0).write(&[0]);
    }
}

impl Drop for Bell {
    fn drop(&mut self) {
        self.ring();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use std::sync::mpsc::TryRecvError;
    use std::thread;

    use super::*;

    fn is_rung(doorbell: &Doorbell) -> bool {
        let mut ring = [0];
        (&doorbell.inside).read(&mut ring).is_ok()
    }

    #[test]
    fn it_rings_when_the_value_is_there() {
        let doorbell = Doorbell::new().unwrap();
        let (delivery, receiver) = doorbell.delivery();
        assert!(!is_rung(&doorbell));
        delivery.send(7);
        assert!(is_rung(&doorbell));
        assert_eq!(receiver.try_recv(), Ok(7));
    }

    #[test]
    fn it_rings_for_a_thread_that_panicked() {
        let doorbell = Doorbell::new().unwrap();
        let (delivery, receiver) = doorbell.delivery::<()>();
        let thread = thread::spawn(move || {
            let _delivery = delivery;
            // Without a panic's text in the test's output.
            std::panic::resume_unwind(Box::new(()));
        });
        assert!(thread.join().is_err());
        assert!(is_rung(&doorbell));
        assert_eq!(receiver.try_recv(), Err(TryRecvError::Disconnected));
    }

    #[test]
    fn many_rings_are_silenced_and_none_blocks() {
        let doorbell = Doorbell::new().unwrap();
        for _ in 0..100_000 {
            drop(doorbell.delivery::<()>());
        }
        doorbell.silence();
        assert!(!is_rung(&doorbell));
    }
}
