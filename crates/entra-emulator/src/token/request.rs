//! What a token is asked for.

use serde_json::Value;
use uuid::Uuid;

use super::deviation::Deviation;
use crate::authority::{Authority, TokenVersion};
use crate::directory::Subject;

/// The Azure CLI's client id: user tokens are issued to it.
pub const AZURE_CLI: Uuid = Uuid::from_u128(0x04b0_7795_8ddb_461a_bbee_02f9_e1bf_7b46);

/// How a sign-in was proved, where tokens tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Proof {
    /// A user as the directory says, an application by a secret.
    #[default]
    Usual,
    /// A user by password, whatever the directory says of a second factor.
    PasswordAlone,
    /// An application by a signed assertion.
    Assertion,
}

/// What a token shall be.
pub struct TokenRequest {
    pub subject: Subject,
    /// A URI of a resource in the directory, or its application id.
    pub audience: String,
    /// The version instead of the resource's own.
    pub version: Option<TokenVersion>,
    /// The application that a user signed in to, instead of the Azure CLI.
    pub client: Option<Uuid>,
    pub proof: Proof,
    pub authority: Authority,
    /// Unix time at which the token is issued.
    pub now: i64,
    /// The remaining lifetime in seconds instead of what Entra would give; negative: expired.
    pub expires_in: Option<i64>,
    pub deviations: Vec<&'static Deviation>,
    /// Claims to set, to remove, and header members to set, after the deviations.
    pub claims: Vec<(String, Value)>,
    pub without: Vec<String>,
    pub header: Vec<(String, Value)>,
    /// The length in bytes that a filler claim brings the token to (or one less: not every length
    /// can be reached).
    pub size: Option<usize>,
}

impl TokenRequest {
    /// A request for a good token.
    pub fn new(subject: Subject, audience: &str, authority: Authority, now: i64) -> TokenRequest {
        TokenRequest {
            subject,
            audience: audience.to_owned(),
            version: None,
            client: None,
            proof: Proof::Usual,
            authority,
            now,
            expires_in: None,
            deviations: Vec::new(),
            claims: Vec::new(),
            without: Vec::new(),
            header: Vec::new(),
            size: None,
        }
    }
}
