//! The library that speaks HTTPS to Entra ID and Microsoft Graph. The server's workers load it when they have something to
//! ask, so that no session's process has an HTTP client, a TLS client and the threads that they start.
//!
//! Its functions take and give JSON, the types of [`entra_api::call`]; their names have the number of that format, so that
//! the server's library never calls another one than it was written for. No secret crosses the border: settings name the
//! files of secrets, and tokens for Graph stay here.
//!
//! A reply is handed to a function of the caller while the call lasts. A call that ends without one has
//! panicked, and standard error says where.

use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::slice;
use std::sync::atomic::AtomicBool;
use std::time::{Instant, UNIX_EPOCH};

use entra_api::call::{
    Ask, Asked, AuthorityTime, Close, FetchKeys, Keys, KeysAsked, KeysProblem, KeysReply, Open,
    Question, Receive, Reply,
};
use entra_api::{DirectoryError, DirectorySettings, ErrorKind};
use entra_client::Directory;
use entra_client::signing_keys::{self, FetchError, Fetched};
use serde::Serialize;
use serde::de::DeserializeOwned;

// The types by which the server's library calls them, and by which it shares a directory among threads.
const _: (Open, Ask, Close, FetchKeys) = (
    aadauth_network_1_open,
    aadauth_network_1_ask,
    aadauth_network_1_close,
    aadauth_network_1_fetch_keys,
);
const _: fn() = || {
    fn is_shared<T: Send + Sync>() {}
    is_shared::<Directory>();
};

/// Where replies go.
#[derive(Clone, Copy)]
struct Receiver {
    receive: Receive,
    context: *mut c_void,
}

impl Receiver {
    fn send(self, reply: &impl Serialize) -> bool {
        serde_json::to_vec(reply)
            .is_ok_and(|json| (self.receive)(self.context, json.as_ptr(), json.len()))
    }
}

/// Prepares to ask the directory of these `DirectorySettings`; null, and a `Reply::Failed`, if they cannot be used.
///
/// # Safety
/// `settings` has `length` bytes. `receive` may be called with `context` by this thread until this returns.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aadauth_network_1_open(
    settings: *const u8,
    length: usize,
    receive: Receive,
    context: *mut c_void,
) -> *const c_void {
    let replies = Receiver { receive, context };
    let open = || {
        // SAFETY: as the caller says.
        let settings = unsafe { read::<DirectorySettings>(settings, length) };
        let opened = settings.map_err(unreadable).and_then(Directory::new);
        opened
            .map_err(|error| replies.send(&Reply::Failed(error)))
            .ok()
    };
    let directory = catch_unwind(AssertUnwindSafe(open)).ok().flatten();
    directory.map_or(std::ptr::null(), |directory| {
        Box::into_raw(Box::new(directory)).cast_const().cast()
    })
}

/// Puts a question, an `Asked`, to a directory. Any number of threads may do that at once.
///
/// # Safety
/// As for [`aadauth_network_1_open`], which returned `directory`, and which is not closed before this returns. `stop` is a
/// flag that others may set meanwhile, or null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aadauth_network_1_ask(
    directory: *const c_void,
    question: *const u8,
    length: usize,
    stop: *const AtomicBool,
    receive: Receive,
    context: *mut c_void,
) {
    let replies = Receiver { receive, context };
    // SAFETY: as the caller says; a directory can be shared.
    let (directory, stop) = unsafe { (&*directory.cast::<Directory>(), stop.as_ref()) };
    let ask = || {
        // SAFETY: as the caller says.
        replies.send(&match unsafe { read(question, length) } {
            Ok(asked) => reply(directory, asked, stop, replies),
            Err(error) => Reply::Failed(unreadable(error)),
        });
    };
    // The panic has been reported by then.
    let _ = catch_unwind(AssertUnwindSafe(ask));
}

/// Ends the use of a directory, and waits for the threads of its HTTP client.
///
/// # Safety
/// [`aadauth_network_1_open`] returned `directory`, and nobody uses it any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aadauth_network_1_close(directory: *const c_void) {
    // SAFETY: as the caller says, it comes from Box::into_raw and is not used again.
    let directory = unsafe { Box::from_raw(directory.cast::<Directory>().cast_mut()) };
    let _ = catch_unwind(AssertUnwindSafe(|| drop(directory)));
}

/// Fetches signing keys, those of a `KeysAsked`, and replies with a `KeysReply`. Returns later than the reply comes: when
/// the threads of its HTTP client have ended.
///
/// # Safety
/// As for [`aadauth_network_1_open`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aadauth_network_1_fetch_keys(
    asked: *const u8,
    length: usize,
    receive: Receive,
    context: *mut c_void,
) {
    let replies = Receiver { receive, context };
    let fetch = || {
        // SAFETY: as the caller says.
        match unsafe { read::<KeysAsked>(asked, length) } {
            Ok(asked) => {
                let deliver = |fetched| {
                    replies.send(&keys_reply(fetched));
                };
                signing_keys::fetch(&asked.authority, asked.tenant, &asked.http, deliver);
            }
            Err(error) => {
                let error = FetchError::Thread(unreadable(error).message);
                replies.send(&keys_reply(Fetched::nothing(error)));
            }
        }
    };
    let _ = catch_unwind(AssertUnwindSafe(fetch));
}

/// # Safety
/// `json` has `length` bytes.
unsafe fn read<T: DeserializeOwned>(json: *const u8, length: usize) -> serde_json::Result<T> {
    // SAFETY: as the caller says.
    serde_json::from_slice(unsafe { slice::from_raw_parts(json, length) })
}

fn unreadable(error: serde_json::Error) -> DirectoryError {
    let message = format!("aadauth_network cannot read what it is asked: {error}");
    DirectoryError::new(ErrorKind::LibraryUnusable, message)
}

fn reply(
    directory: &Directory,
    asked: Asked,
    stop: Option<&AtomicBool>,
    replies: Receiver,
) -> Reply {
    let deadline = Instant::now() + asked.time;
    let found = |found: Result<_, DirectoryError>| found.map(Reply::Found);
    match asked.question {
        Question::Name(name) => found(directory.find_by_name(&name, deadline)),
        Question::ObjectId(id) => found(directory.find_by_object_id(id, deadline)),
        Question::AppId(id) => found(directory.find_by_app_id(id, deadline)),
        Question::Membership {
            kind,
            member,
            group,
        } => directory
            .is_member(kind, member, group, deadline)
            .map(Reply::Member),
        Question::Probe => directory.probe(deadline).map(|()| Reply::Done),
        Question::Members(group) => {
            let never = AtomicBool::new(false);
            let mut page = |members| replies.send(&Reply::Page(members));
            directory
                .members(group, stop.unwrap_or(&never), &mut page)
                .map(|()| Reply::Done)
        }
    }
    .unwrap_or_else(Reply::Failed)
}

fn keys_reply(fetched: Fetched) -> KeysReply {
    let sets = fetched.sets.into_iter().map(|set| match set {
        Ok(set) => Ok(Keys {
            version: set.version,
            jwks: set.to_jwks(),
            issuer: set.issuer,
        }),
        Err(error) => Err(problem(&error)),
    });
    let clock = fetched.clock.map(|time| {
        let received = time.received.duration_since(UNIX_EPOCH).unwrap_or_default();
        AuthorityTime {
            received: received.as_micros().try_into().unwrap_or(i64::MAX),
            date: time.date,
        }
    });
    KeysReply {
        sets: sets.collect(),
        clock,
    }
}

fn problem(error: &FetchError) -> KeysProblem {
    KeysProblem {
        message: error.to_string(),
        hint: error.hint().to_owned(),
        is_ours: error.is_ours(),
    }
}
