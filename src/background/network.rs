//! What the workers ask of Entra ID and Microsoft Graph, by way of the library `aadauth_network`.
//!
//! Every call blocks, so it belongs on a thread that [`worker::spawn`](crate::pg::worker::spawn) has started.

use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use entra_api::call::{
    Asked, AuthorityTime, Keys, KeysAsked, KeysProblem, KeysReply, Question, Reply,
};
use entra_api::{DirectoryError, DirectorySettings, ErrorKind, HttpSettings, Principal};
use entra_token::{Authority, KeySet};
use serde::Serialize;
use uuid::Uuid;

use crate::pg::network_library;

/// A directory, asked by way of Microsoft Graph.
pub struct Directory(network_library::Directory);

impl Directory {
    /// Prepares to ask; nothing is sent yet, and no credential is read.
    ///
    /// # Errors
    /// The settings cannot be used, or the library cannot be loaded.
    pub fn new(settings: &DirectorySettings) -> Result<Directory, DirectoryError> {
        let mut refusal = silent();
        let opened = network_library::Directory::open(&json(settings)?, &mut |json| {
            if let Err(error) = reply(json) {
                refusal = error;
            }
            true
        });
        opened.map_err(unusable)?.map(Directory).ok_or(refusal)
    }

    /// The principal that a question is about.
    ///
    /// # Errors
    /// There is none, or there is no answer by `deadline`.
    pub fn find(&self, question: Question, deadline: Instant) -> Result<Principal, DirectoryError> {
        match self.ask(question, deadline)? {
            Reply::Found(principal) => Ok(principal),
            _ => Err(other_question()),
        }
    }

    /// The answer to [`Question::Membership`].
    ///
    /// # Errors
    /// There is no answer by `deadline`.
    pub fn is_member(&self, question: Question, deadline: Instant) -> Result<bool, DirectoryError> {
        match self.ask(question, deadline)? {
            Reply::Member(is_member) => Ok(is_member),
            _ => Err(other_question()),
        }
    }

    /// Whether the directory answers all questions.
    ///
    /// # Errors
    /// Why it does not, or not by `deadline`.
    pub fn probe(&self, deadline: Instant) -> Result<(), DirectoryError> {
        match self.ask(Question::Probe, deadline)? {
            Reply::Done => Ok(()),
            _ => Err(other_question()),
        }
    }

    /// Hands over the members of a group, those of groups in it included, page by page: users and service principals,
    /// each once, also those that may not sign in. `page` returns whether to go on; `stop` ends it as well.
    ///
    /// # Errors
    /// Why there is no complete list: also when it was stopped.
    pub fn members(
        &self,
        group: Uuid,
        stop: &AtomicBool,
        page: &mut dyn FnMut(Vec<Principal>) -> bool,
    ) -> Result<(), DirectoryError> {
        let asked = Asked {
            question: Question::Members(group),
            time: Duration::ZERO,
        };
        let mut end = Err(silent());
        self.0.ask(&json(&asked)?, Some(stop), &mut |json| {
            match reply(json) {
                Ok(Reply::Page(members)) => return page(members),
                Ok(Reply::Done) => end = Ok(()),
                Ok(_) => end = Err(other_question()),
                Err(error) => end = Err(error),
            }
            false
        });
        end
    }

    fn ask(&self, question: Question, deadline: Instant) -> Result<Reply, DirectoryError> {
        let time = deadline.saturating_duration_since(Instant::now());
        let mut answer = Err(silent());
        self.0
            .ask(&json(&Asked { question, time })?, None, &mut |json| {
                answer = reply(json);
                true
            });
        answer
    }
}

/// What the library replies, or why it does not.
fn reply(json: &[u8]) -> Result<Reply, DirectoryError> {
    match serde_json::from_slice(json) {
        Ok(Reply::Failed(error)) => Err(error),
        Ok(reply) => Ok(reply),
        Err(error) => Err(unusable(format!(
            "aadauth_network has replied what cannot be read: {error}"
        ))),
    }
}

/// The results of a fetch of signing keys.
pub struct Fetched {
    /// The set of each token version, or why there is none.
    pub sets: Vec<Result<KeySet, KeysProblem>>,
    pub clock: Option<AuthorityTime>,
}

impl Fetched {
    /// There was no fetch, for a reason of this machine.
    pub fn nothing(message: impl Into<String>, hint: &str) -> Fetched {
        Fetched {
            sets: vec![Err(problem(message, hint))],
            clock: None,
        }
    }
}

/// Fetches the key sets of both token versions and delivers the results, if the library does not panic.
pub fn fetch_keys(
    authority: &Authority,
    tenant: Uuid,
    http: &HttpSettings,
    deliver: impl FnOnce(Fetched),
) {
    let mut deliver = Some(deliver);
    let asked = KeysAsked {
        authority: authority.clone(),
        tenant,
        http: http.clone(),
    };
    let asked = serde_json::to_vec(&asked).unwrap_or_default();
    let loaded = network_library::fetch_keys(&asked, &mut |json| {
        let fetched = match serde_json::from_slice(json) {
            Ok(reply) => read(reply, tenant),
            Err(error) => Fetched::nothing(error.to_string(), REINSTALL),
        };
        if let Some(deliver) = deliver.take() {
            deliver(fetched);
        }
        true
    });
    if let (Err(error), Some(deliver)) = (loaded, deliver) {
        deliver(Fetched::nothing(error, REINSTALL));
    }
}

fn read(reply: KeysReply, tenant: Uuid) -> Fetched {
    let set = |keys: Keys| {
        let jwks = keys.jwks.to_string();
        KeySet::from_jwks(keys.version, &keys.issuer, tenant, jwks.as_bytes())
            .map_err(|error| problem(error.to_string(), REINSTALL))
    };
    Fetched {
        sets: reply
            .sets
            .into_iter()
            .map(|keys| keys.and_then(set))
            .collect(),
        clock: reply.clock,
    }
}

const REINSTALL: &str = ErrorKind::LibraryUnusable.hint();

fn problem(message: impl Into<String>, hint: &str) -> KeysProblem {
    KeysProblem {
        message: message.into(),
        hint: hint.to_owned(),
        is_ours: true,
    }
}

fn json(value: &impl Serialize) -> Result<Vec<u8>, DirectoryError> {
    serde_json::to_vec(value).map_err(|error| unusable(error.to_string()))
}

/// It has panicked.
fn silent() -> DirectoryError {
    unusable("the library aadauth_network has failed; the server log says where".to_owned())
}

fn other_question() -> DirectoryError {
    unusable("the library aadauth_network has answered another question".to_owned())
}

fn unusable(message: String) -> DirectoryError {
    DirectoryError::new(ErrorKind::LibraryUnusable, message)
}
