//! How a thread notifies the worker's main thread that it has delivered something.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};

/// A file that becomes readable when a thread has delivered something, or has ended without (a self-pipe).
///
/// A thread must not set the latch of its process, because only the main thread may call PostgreSQL.
pub struct Notifier {
    receiving: UnixStream,
    sending: Arc<UnixStream>,
}

/// Lets a thread deliver one value. Dropped without, it notifies as well, and the receiver is disconnected:
/// so the main thread notices a thread that panicked.
pub struct Delivery<T> {
    // In this order: when the notification arrives, the value is there or the sender is gone.
    sender: Sender<T>,
    _notification: Notification,
}

/// Lets a thread notify; dropped, it notifies once more.
pub struct Notification(Arc<UnixStream>);

impl Notifier {
    /// # Errors
    /// The process has no files left.
    pub fn new() -> io::Result<Notifier> {
        let (receiving, sending) = UnixStream::pair()?;
        receiving.set_nonblocking(true)?;
        sending.set_nonblocking(true)?;
        Ok(Notifier {
            receiving,
            sending: Arc::new(sending),
        })
    }

    /// Clears past notifications. Call it before looking for delivered values.
    pub fn drain(&self) {
        let mut bytes = [0; 64];
        while (&self.receiving)
            .read(&mut bytes)
            .is_ok_and(|count| count > 0)
        {}
    }

    /// For a thread that delivers by other means.
    pub fn notification(&self) -> Notification {
        Notification(Arc::clone(&self.sending))
    }

    /// The delivery to pass to a thread, and the receiver of its value.
    pub fn delivery<T>(&self) -> (Delivery<T>, Receiver<T>) {
        let (sender, receiver) = mpsc::channel();
        let delivery = Delivery {
            sender,
            _notification: self.notification(),
        };
        (delivery, receiver)
    }
}

impl AsFd for Notifier {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.receiving.as_fd()
    }
}

impl<T> Delivery<T> {
    /// Delivers the value; the receiver may have been dropped.
    pub fn send(self, value: T) {
        let _ = self.sender.send(value);
    }
}

impl Notification {
    pub fn notify(&self) {
        // A full buffer means that the notification is already pending.
        let _ = (&*self.0).write(&[0]);
    }
}

impl Drop for Notification {
    fn drop(&mut self) {
        self.notify();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::TryRecvError;
    use std::thread;

    use super::*;

    fn is_notified(notifier: &Notifier) -> bool {
        let mut byte = [0];
        (&notifier.receiving).read(&mut byte).is_ok()
    }

    #[test]
    fn a_delivered_value_notifies() {
        let notifier = Notifier::new().unwrap();
        let (delivery, receiver) = notifier.delivery();
        assert!(!is_notified(&notifier));
        delivery.send(7);
        assert!(is_notified(&notifier));
        assert_eq!(receiver.try_recv(), Ok(7));
    }

    #[test]
    fn a_thread_that_panicked_notifies() {
        let notifier = Notifier::new().unwrap();
        let (delivery, receiver) = notifier.delivery::<()>();
        let thread = thread::spawn(move || {
            let _delivery = delivery;
            // Without a panic's text in the test's output.
            std::panic::resume_unwind(Box::new(()));
        });
        assert!(thread.join().is_err());
        assert!(is_notified(&notifier));
        assert_eq!(receiver.try_recv(), Err(TryRecvError::Disconnected));
    }

    #[test]
    fn many_notifications_are_drained_and_none_blocks() {
        let notifier = Notifier::new().unwrap();
        for _ in 0..100_000 {
            drop(notifier.delivery::<()>());
        }
        notifier.drain();
        assert!(!is_notified(&notifier));
    }
}
