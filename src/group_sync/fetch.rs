//! The thread that fetches the members of groups from Microsoft Graph during one run.
//!
//! It calls nothing of PostgreSQL's. The members go through a bounded channel, so the thread waits for the
//! main thread rather than fill the memory. After the [`MemberFetcher`] is dropped, the thread ends by
//! itself, at the latest when its current request ends.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender, SyncSender, TryRecvError};
use std::time::{Duration, Instant};

use entra_api::{DirectoryError, DirectorySettings, ErrorKind, Principal};
use entra_client::Directory;
use entra_token::PrincipalKind;
use uuid::Uuid;

use crate::background::notifier::{Notification, Notifier};
use crate::pg::worker;
use crate::statistics;

/// How many messages may wait for the main thread.
const CAPACITY: usize = 2;
/// How long it may take to learn whether a group exists.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(30);

/// What the thread reports.
pub enum Message {
    /// Some of the members.
    Page(Vec<Principal>),
    /// The last message about this group.
    End(Listed),
}

/// How the listing of a group ended.
pub enum Listed {
    /// All members are known.
    Complete,
    /// The directory has no such group.
    NoGroup,
    Failed(FetchError),
}

/// Why the members could not be listed.
#[derive(Clone, Debug)]
pub struct FetchError {
    /// One line without a period.
    pub message: String,
    /// `None` when the error is not the directory's.
    pub kind: Option<ErrorKind>,
}

impl FetchError {
    pub fn new(message: impl Into<String>) -> FetchError {
        FetchError {
            message: message.into(),
            kind: None,
        }
    }

    /// Whether the next group would fail as well.
    pub fn affects_every_group(&self) -> bool {
        use ErrorKind::{CredentialRefused, CredentialUnusable, Unreachable};
        matches!(
            self.kind,
            Some(CredentialUnusable | CredentialRefused | Unreachable)
        )
    }

    /// Whether a retry may soon succeed.
    pub fn is_transient(&self) -> bool {
        use ErrorKind::{Throttled, TimedOut, Unreachable};
        matches!(self.kind, Some(Unreachable | TimedOut | Throttled))
    }

    pub fn hint(&self) -> Option<&'static str> {
        self.kind.map(ErrorKind::hint)
    }
}

impl From<DirectoryError> for FetchError {
    fn from(error: DirectoryError) -> FetchError {
        FetchError {
            message: error.message,
            kind: Some(error.kind),
        }
    }
}

/// The thread, as the main thread sees it.
pub struct MemberFetcher {
    groups: Sender<Uuid>,
    messages: Receiver<Message>,
    notifier: Notifier,
    stop: Arc<AtomicBool>,
}

impl MemberFetcher {
    /// # Errors
    /// The system cannot start another thread.
    pub fn start(settings: DirectorySettings) -> io::Result<MemberFetcher> {
        let notifier = Notifier::new()?;
        let (groups, requested) = mpsc::channel();
        let (sender, messages) = mpsc::sync_channel(CAPACITY);
        let stop = Arc::new(AtomicBool::new(false));
        let thread = Thread {
            messages: sender,
            notification: notifier.notification(),
            stop: Arc::clone(&stop),
        };
        worker::spawn("aadauth-sync", move || thread.run(settings, &requested))?;
        Ok(MemberFetcher {
            groups,
            messages,
            notifier,
            stop,
        })
    }

    /// Requests the members of a group. The response to the request before must have ended.
    pub fn request(&self, group: Uuid) {
        // When the thread has ended, `next` says so.
        let _ = self.groups.send(group);
    }

    /// The next message, if there is one.
    pub fn next(&self) -> Option<Message> {
        self.notifier.drain();
        match self.messages.try_recv() {
            Ok(message) => Some(message),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => Some(Message::End(Listed::Failed(FetchError::new(
                "the thread that queries the directory has ended",
            )))),
        }
    }

    /// Readable when [`next`](Self::next) has something.
    pub fn notifier_fd(&self) -> BorrowedFd<'_> {
        self.notifier.as_fd()
    }
}

impl Drop for MemberFetcher {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

struct Thread {
    messages: SyncSender<Message>,
    notification: Notification,
    stop: Arc<AtomicBool>,
}

impl Thread {
    fn run(&self, settings: DirectorySettings, groups: &Receiver<Uuid>) {
        let directory = Directory::new(settings);
        while let Ok(group) = groups.recv() {
            let listed = match &directory {
                Ok(directory) => self.fetch(directory, group),
                Err(error) => {
                    statistics::count_directory_call(Some(error.kind));
                    Listed::Failed(error.clone().into())
                }
            };
            if !self.send(Message::End(listed)) {
                return;
            }
        }
    }

    fn fetch(&self, directory: &Directory, group: Uuid) -> Listed {
        let mut page = |members| self.send(Message::Page(members));
        let outcome = directory.members(group, &self.stop, &mut page);
        count(&outcome);
        match outcome {
            Ok(()) => Listed::Complete,
            // A missing group revokes the group role from everybody, so a second request confirms it.
            Err(error) if error.kind == ErrorKind::NotFound => find_group(directory, group),
            Err(error) => Listed::Failed(error.into()),
        }
    }

    /// `false` when the [`MemberFetcher`] has been dropped.
    fn send(&self, message: Message) -> bool {
        let is_sent = self.messages.send(message).is_ok();
        self.notification.notify();
        is_sent
    }
}

fn find_group(directory: &Directory, group: Uuid) -> Listed {
    let found = directory.find_by_object_id(group, Instant::now() + LOOKUP_TIMEOUT);
    count(&found);
    match found {
        Err(error) if error.kind == ErrorKind::NotFound => Listed::NoGroup,
        Err(error) => Listed::Failed(error.into()),
        Ok(principal) if principal.kind == PrincipalKind::Group => Listed::Failed(FetchError::new(
            "the directory has the group but does not list its members",
        )),
        Ok(principal) => Listed::Failed(FetchError::new(format!(
            "{group} is not a group but a {}",
            principal.kind
        ))),
    }
}

fn count<T>(outcome: &Result<T, DirectoryError>) {
    statistics::count_directory_call(outcome.as_ref().err().map(|error| error.kind));
}
