//! How the server's library calls `aadauth_network`, which speaks HTTPS: what it asks and what it is answered, as JSON, and
//! the functions that take and give that.

use std::ffi::c_void;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use entra_token::{Authority, PrincipalKind, TokenVersion};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::{DirectoryError, HttpSettings, Principal};

/// Takes JSON that is valid only until it returns; returns whether to go on.
pub type Receive = extern "C" fn(context: *mut c_void, json: *const u8, length: usize) -> bool;

/// The type of `aadauth_network_1_open`.
pub type Open = unsafe extern "C" fn(*const u8, usize, Receive, *mut c_void) -> *const c_void;
/// The type of `aadauth_network_1_ask`.
pub type Ask =
    unsafe extern "C" fn(*const c_void, *const u8, usize, *const AtomicBool, Receive, *mut c_void);
/// The type of `aadauth_network_1_close`.
pub type Close = unsafe extern "C" fn(*const c_void);
/// The type of `aadauth_network_1_fetch_keys`.
pub type FetchKeys = unsafe extern "C" fn(*const u8, usize, Receive, *mut c_void);

/// What is asked of a directory.
#[derive(Debug, Serialize, Deserialize)]
pub enum Question {
    /// The principal of this name.
    Name(String),
    /// The principal with this object id.
    ObjectId(Uuid),
    /// The service principal of this application.
    AppId(Uuid),
    /// Whether the principal is in the group, directly or through other groups.
    #[allow(missing_docs, reason = "the names say what they are")]
    Membership {
        kind: PrincipalKind,
        member: Uuid,
        group: Uuid,
    },
    /// Whether the directory answers all of these.
    Probe,
    /// The members of this group, which may take longer than the time that there is for other questions.
    Members(Uuid),
}

/// A question, and how long there is time for its answer.
#[derive(Debug, Serialize, Deserialize)]
pub struct Asked {
    /// The question.
    pub question: Question,
    /// From now on.
    pub time: Duration,
}

/// What the directory answers. Each question gets one reply. [`Question::Members`] gets a [`Reply::Page`] for each page of
/// members, and then [`Reply::Done`] or [`Reply::Failed`].
#[derive(Debug, Serialize, Deserialize)]
pub enum Reply {
    /// The principal.
    Found(Principal),
    /// Whether it is a member.
    Member(bool),
    /// There is no more to say.
    Done,
    /// Some of the members.
    Page(Vec<Principal>),
    /// Why there is no answer.
    Failed(DirectoryError),
}

/// Whose signing keys are wanted.
#[derive(Debug, Serialize, Deserialize)]
pub struct KeysAsked {
    /// Who publishes them.
    pub authority: Authority,
    /// Of which tenant.
    pub tenant: Uuid,
    /// How requests leave the machine.
    pub http: HttpSettings,
}

/// What came of a fetch of signing keys.
#[derive(Debug, Serialize, Deserialize)]
pub struct KeysReply {
    /// The keys of each token version, or why there are none.
    pub sets: Vec<Result<Keys, KeysProblem>>,
    /// By the first response that had a time, of whatever status.
    pub clock: Option<AuthorityTime>,
}

/// The keys of one token version.
#[derive(Debug, Serialize, Deserialize)]
pub struct Keys {
    /// Of the tokens that they verify.
    pub version: TokenVersion,
    /// The issuer that they belong to.
    pub issuer: String,
    /// A JWK set (RFC 7517 section 5).
    pub jwks: Value,
}

/// Why there are no keys. Says nothing of what the authority sent.
#[derive(Debug, Serialize, Deserialize)]
pub struct KeysProblem {
    /// One line without a period.
    pub message: String,
    /// What to do about it.
    pub hint: String,
    /// Whether the cause is this machine, not the authority or the network.
    pub is_ours: bool,
}

/// What an authority's clock said.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct AuthorityTime {
    /// When its response came, in microseconds since 1970.
    pub received: i64,
    /// What its Date header said, in seconds since 1970.
    pub date: i64,
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use entra_token::Cloud;
    use serde_json::json;

    use super::*;
    use crate::{CredentialSource, DirectorySettings, ErrorKind};

    /// A change here needs another number in the functions' names: the libraries of two versions may meet, while one is
    /// replaced by the other below a running server.
    #[test]
    fn what_crosses_is_always_written_so() {
        let id = Uuid::from_u128(7);
        let uuid = "00000000-0000-0000-0000-000000000007";
        let authority = Authority {
            cloud: Cloud::UsGov,
            host: None,
        };
        let http = HttpSettings {
            ca_file: Some(PathBuf::from("/ca")),
            proxy: None,
        };
        let principal = Principal {
            kind: PrincipalKind::Service,
            object_id: id,
            name: "app".to_owned(),
            app_id: Some(id),
            enabled: true,
        };
        let principal_json = json!({ "kind": "service", "object_id": uuid, "name": "app", "app_id": uuid, "enabled": true });
        let settings = |credential| DirectorySettings {
            tenant: id,
            authority: authority.clone(),
            graph: "https://graph".to_owned(),
            client_id: None,
            credential,
            http: http.clone(),
        };
        let settings_json = |credential| {
            json!({
                "tenant": uuid, "authority": { "cloud": "usgov", "host": null }, "graph": "https://graph", "client_id": null,
                "credential": credential, "http": { "ca_file": "/ca", "proxy": null },
            })
        };
        let question = |question| Asked {
            question,
            time: Duration::from_millis(1500),
        };
        let asked_json =
            |question| json!({ "question": question, "time": { "secs": 1, "nanos": 500_000_000 } });
        let pairs = [
            (
                json!(settings(CredentialSource::ClientSecret("/s".into()))),
                settings_json(json!({ "ClientSecret": "/s" })),
            ),
            (
                json!(settings(CredentialSource::ClientCertificate("/c".into()))),
                settings_json(json!({ "ClientCertificate": "/c" })),
            ),
            (
                json!(settings(CredentialSource::ManagedIdentity)),
                settings_json(json!("ManagedIdentity")),
            ),
            (
                json!(settings(CredentialSource::WorkloadIdentity("/w".into()))),
                settings_json(json!({ "WorkloadIdentity": "/w" })),
            ),
            (
                json!(question(Question::Name("a".to_owned()))),
                asked_json(json!({ "Name": "a" })),
            ),
            (
                json!(question(Question::ObjectId(id))),
                asked_json(json!({ "ObjectId": uuid })),
            ),
            (
                json!(question(Question::AppId(id))),
                asked_json(json!({ "AppId": uuid })),
            ),
            (
                json!(question(Question::Membership {
                    kind: PrincipalKind::User,
                    member: id,
                    group: id
                })),
                asked_json(
                    json!({ "Membership": { "kind": "user", "member": uuid, "group": uuid } }),
                ),
            ),
            (json!(question(Question::Probe)), asked_json(json!("Probe"))),
            (
                json!(question(Question::Members(id))),
                asked_json(json!({ "Members": uuid })),
            ),
            (
                json!(Reply::Found(principal.clone())),
                json!({ "Found": principal_json }),
            ),
            (json!(Reply::Member(true)), json!({ "Member": true })),
            (json!(Reply::Done), json!("Done")),
            (
                json!(Reply::Page(vec![principal])),
                json!({ "Page": [principal_json] }),
            ),
            (
                json!(Reply::Failed(DirectoryError::new(
                    ErrorKind::TimedOut,
                    "late"
                ))),
                json!({ "Failed": { "kind": "TimedOut", "message": "late" } }),
            ),
            (
                json!(KeysAsked {
                    authority: authority.clone(),
                    tenant: id,
                    http: http.clone()
                }),
                json!({ "authority": { "cloud": "usgov", "host": null }, "tenant": uuid, "http": { "ca_file": "/ca", "proxy": null } }),
            ),
            (
                json!(KeysReply {
                    sets: vec![
                        Ok(Keys {
                            version: TokenVersion::V1,
                            issuer: "i".to_owned(),
                            jwks: json!({})
                        }),
                        Err(KeysProblem {
                            message: "m".to_owned(),
                            hint: "h".to_owned(),
                            is_ours: true
                        }),
                    ],
                    clock: Some(AuthorityTime {
                        received: 1,
                        date: 2
                    }),
                }),
                json!({
                    "sets": [
                        { "Ok": { "version": "v1", "issuer": "i", "jwks": {} } },
                        { "Err": { "message": "m", "hint": "h", "is_ours": true } },
                    ],
                    "clock": { "received": 1, "date": 2 },
                }),
            ),
        ];
        for (written, expected) in pairs {
            assert_eq!(written, expected);
        }
    }
}
