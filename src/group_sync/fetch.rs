//! The thread that asks Microsoft Graph for the members of groups, during one run.
//!
//! It calls nothing of PostgreSQL's. What it learns goes through a channel with little room, so that
//! it waits for the main thread rather than fill the memory. Whoever drops the [`Lister`] has done with
//! it: the thread ends by itself, at the latest when its request does.

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

use crate::background::notifier::{Bell, Doorbell};
use crate::pg::worker;
use crate::statistics;

/// How many messages may wait for the main thread.
const ROOM: usize = 2;
/// How long it may take to learn whether a group is there.
const LOOK_UP: Duration = Duration::from_secs(30);

/// What the directory says.
pub enum News {
    /// Some of the members.
    Page(Vec<Principal>),
    /// There is no more to be said about this group.
    End(Listed),
}

/// How the listing of a group ended.
pub enum Listed {
    /// All members are known.
    Whole,
    /// The directory has no such group.
    NoGroup,
    Failed(Trouble),
}

/// Why the members could not be listed.
#[derive(Clone, Debug)]
pub struct Trouble {
    /// One line without a full stop.
    pub message: String,
    /// `None` when the directory is not to blame.
    pub kind: Option<ErrorKind>,
}

impl Trouble {
    pub fn new(message: impl Into<String>) -> Trouble {
        Trouble {
            message: message.into(),
            kind: None,
        }
    }

    /// Whether the next group would fare no better.
    pub fn is_general(&self) -> bool {
        use ErrorKind::{CredentialRefused, CredentialUnusable, Unreachable};
        matches!(
            self.kind,
            Some(CredentialUnusable | CredentialRefused | Unreachable)
        )
    }

    /// Whether it may be over in a minute.
    pub fn is_passing(&self) -> bool {
        use ErrorKind::{Throttled, TimedOut, Unreachable};
        matches!(self.kind, Some(Unreachable | TimedOut | Throttled))
    }

    pub fn hint(&self) -> Option<&'static str> {
        self.kind.map(ErrorKind::hint)
    }
}

impl From<DirectoryError> for Trouble {
    fn from(error: DirectoryError) -> Trouble {
        Trouble {
            message: error.message,
            kind: Some(error.kind),
        }
    }
}

/// The thread, as the main thread sees it.
pub struct Lister {
    groups: Sender<Uuid>,
    news: Receiver<News>,
    doorbell: Doorbell,
    stop: Arc<AtomicBool>,
}

impl Lister {
    /// # Errors
    /// When the system starts no more threads.
    pub fn start(settings: DirectorySettings) -> io::Result<Lister> {
        let doorbell = Doorbell::new()?;
        let (groups, asked) = mpsc::channel();
        let (sender, news) = mpsc::sync_channel(ROOM);
        let stop = Arc::new(AtomicBool::new(false));
        let thread = Thread {
            news: sender,
            bell: doorbell.bell(),
            stop: Arc::clone(&stop),
        };
        worker::spawn("aadauth-sync", move || thread.run(settings, &asked))?;
        Ok(Lister {
            groups,
            news,
            doorbell,
            stop,
        })
    }

    /// Asks for the members of a group. The answer to the question before must have ended.
    pub fn ask(&self, group: Uuid) {
        // When the thread has ended, `next` says so.
        let _ = self.groups.send(group);
    }

    /// What has come, if anything has.
    pub fn next(&self) -> Option<News> {
        self.doorbell.silence();
        match self.news.try_recv() {
            Ok(news) => Some(news),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => Some(News::End(Listed::Failed(Trouble::new(
                "the thread that asks the directory has ended",
            )))),
        }
    }

    /// Readable when [`next`](Self::next) has something.
    pub fn bell(&self) -> BorrowedFd<'_> {
        self.doorbell.as_fd()
    }
}

impl Drop for Lister {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

struct Thread {
    news: SyncSender<News>,
    bell: Bell,
    stop: Arc<AtomicBool>,
}

impl Thread {
    fn run(&self, settings: DirectorySettings, groups: &Receiver<Uuid>) {
        let directory = Directory::new(settings);
        while let Ok(group) = groups.recv() {
            let listed = match &directory {
                Ok(directory) => self.list(directory, group),
                Err(error) => {
                    statistics::count_directory_call(Some(error.kind));
                    Listed::Failed(error.clone().into())
                }
            };
            if !self.tell(News::End(listed)) {
                return;
            }
        }
    }

    fn list(&self, directory: &Directory, group: Uuid) -> Listed {
        let mut page = |members| self.tell(News::Page(members));
        let outcome = directory.members(group, &self.stop, &mut page);
        count(&outcome);
        match outcome {
            Ok(()) => Listed::Whole,
            // Whoever takes this for an answer takes the group role from everybody, so that it is asked
            // for in another way as well.
            Err(error) if error.kind == ErrorKind::NotFound => look_for(directory, group),
            Err(error) => Listed::Failed(error.into()),
        }
    }

    /// `false` when nobody listens any more.
    fn tell(&self, news: News) -> bool {
        let is_told = self.news.send(news).is_ok();
        self.bell.ring();
        is_told
    }
}

fn look_for(directory: &Directory, group: Uuid) -> Listed {
    let found = directory.find_by_object_id(group, Instant::now() + LOOK_UP);
    count(&found);
    match found {
        Err(error) if error.kind == ErrorKind::NotFound => Listed::NoGroup,
        Err(error) => Listed::Failed(error.into()),
        Ok(principal) if principal.kind == PrincipalKind::Group => Listed::Failed(Trouble::new(
            "the directory has the group, but no list of its members",
        )),
        Ok(principal) => Listed::Failed(Trouble::new(format!(
            "{group} is no group but of type {}",
            principal.kind
        ))),
    }
}

fn count<T>(outcome: &Result<T, DirectoryError>) {
    statistics::count_directory_call(outcome.as_ref().err().map(|error| error.kind));
}
