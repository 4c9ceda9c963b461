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

use entra_api::call::Question;
use entra_api::{DirectoryError, DirectorySettings, ErrorKind, Principal};
use entra_token::PrincipalKind;
use uuid::Uuid;

use super::members;
use crate::background::network::Directory;
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
        use ErrorKind::{CredentialRefused, CredentialUnusable, LibraryUnusable, Unreachable};
        matches!(
            self.kind,
            Some(CredentialUnusable | CredentialRefused | LibraryUnusable | Unreachable)
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
        let directory = Directory::new(&settings);
        self.answer(groups, |group, page| match &directory {
            Ok(directory) => fetch(directory, group, &self.stop, page),
            Err(error) => {
                statistics::count_directory_call(Some(error.kind));
                Listed::Failed(error.clone().into())
            }
        });
    }

    /// Lists each requested group by `list`, which passes on one page after the other until that returns
    /// `false`.
    fn answer(
        &self,
        groups: &Receiver<Uuid>,
        list: impl Fn(Uuid, &mut dyn FnMut(Vec<Principal>) -> bool) -> Listed,
    ) {
        while let Ok(group) = groups.recv() {
            let mut seen = 0;
            let mut page = |members: Vec<Principal>| {
                seen += members.len();
                seen <= members::MOST && self.send(Message::Page(members))
            };
            let mut listed = list(group, &mut page);
            if seen > members::MOST {
                let most = members::MOST;
                let message = format!("the group has more than {most} members");
                listed = Listed::Failed(FetchError::new(message));
            }
            if !self.send(Message::End(listed)) {
                return;
            }
        }
    }

    /// `false` when the [`MemberFetcher`] has been dropped.
    fn send(&self, message: Message) -> bool {
        let is_sent = self.messages.send(message).is_ok();
        self.notification.notify();
        is_sent
    }
}

fn fetch(
    directory: &Directory,
    group: Uuid,
    stop: &AtomicBool,
    page: &mut dyn FnMut(Vec<Principal>) -> bool,
) -> Listed {
    let outcome = directory.members(group, stop, page);
    count(&outcome);
    match outcome {
        Ok(()) => Listed::Complete,
        // A missing group revokes the group role from everybody, so a second request confirms it.
        Err(error) if error.kind == ErrorKind::NotFound => find_group(directory, group),
        Err(error) => Listed::Failed(error.into()),
    }
}

fn find_group(directory: &Directory, group: Uuid) -> Listed {
    let deadline = Instant::now() + LOOKUP_TIMEOUT;
    let found = directory.find(Question::ObjectId(group), deadline);
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

#[cfg(test)]
mod tests {
    use super::*;

    const LARGE: Uuid = Uuid::from_u128(1);
    const SMALL: Uuid = Uuid::from_u128(2);
    const PAGE: usize = 999;

    fn page_of(count: usize) -> Vec<Principal> {
        let members = (0..count).map(|number| Principal {
            kind: PrincipalKind::User,
            object_id: Uuid::from_u128(number as u128),
            name: "alice@contoso.com".to_owned(),
            app_id: None,
            enabled: true,
        });
        members.collect()
    }

    /// A listing with that many members.
    fn list(members: usize, page: &mut dyn FnMut(Vec<Principal>) -> bool) -> Listed {
        let mut left = members;
        while left > 0 {
            let count = left.min(PAGE);
            left -= count;
            if !page(page_of(count)) {
                // As of a listing that was stopped.
                return Listed::Failed(FetchError::new(format!("stopped with {left} left")));
            }
        }
        Listed::Complete
    }

    /// What arrives of a group with that many members and then of one with two: the members and the error of each.
    fn listings(large: usize) -> Vec<(usize, Option<String>)> {
        let notifier = Notifier::new().unwrap();
        let (sender, messages) = mpsc::sync_channel(CAPACITY);
        let thread = Thread {
            messages: sender,
            notification: notifier.notification(),
            stop: Arc::new(AtomicBool::new(false)),
        };
        let (groups, requested) = mpsc::channel();
        for group in [LARGE, SMALL] {
            groups.send(group).unwrap();
        }
        drop(groups);
        let fetching = std::thread::spawn(move || {
            thread.answer(&requested, |group, page| {
                list(if group == LARGE { large } else { 2 }, page)
            });
        });
        let mut listings = Vec::new();
        let mut count = 0;
        for message in messages {
            match message {
                Message::Page(page) => count += page.len(),
                Message::End(Listed::Failed(error)) => {
                    listings.push((count, Some(error.message)));
                    count = 0;
                }
                Message::End(_) => {
                    listings.push((count, None));
                    count = 0;
                }
            }
        }
        fetching.join().unwrap();
        listings
    }

    #[test]
    fn a_group_that_is_too_large_is_not_read_to_its_end() {
        let most = members::MOST;
        let error = "the group has more than 100000 members".to_owned();
        for too_large in [most + 1, 10 * most] {
            let read = most / PAGE * PAGE;
            assert_eq!(
                listings(too_large),
                [(read, Some(error.clone())), (2, None)]
            );
        }
        assert_eq!(listings(most), [(most, None), (2, None)]);
    }
}
