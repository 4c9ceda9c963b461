//! Access tokens: good ones, and ones that differ from a good one in what a caller asks for.

mod claims;
mod deviation;
mod draft;
mod id_token;
mod table;

use aws_lc_rs::rand;
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::authority::{Authority, TokenVersion};
use crate::directory::{Directory, Identity, LookupError, Principal, Subject};
use crate::signing_keys::{SigningKeyError, SigningKeys};

pub use deviation::{Deviation, Holder};
pub use id_token::id_token;

use draft::Draft;

pub(crate) use draft::{NONCE, signed_header};

/// The Azure CLI's client id: user tokens are issued to it.
pub const AZURE_CLI: Uuid = Uuid::from_u128(0x04b0_7795_8ddb_461a_bbee_02f9_e1bf_7b46);
/// The one subscription of the emulator's world.
pub const SUBSCRIPTION: &str = "5ab5c100-0000-4000-8000-0000000000aa";
/// Entra dates tokens five minutes back, for verifiers whose clocks are slow.
const BACKDATED: i64 = 300;
/// Above this many groups a token carries a pointer instead of the `groups` claim.
const GROUPS_LIMIT: usize = 200;

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

/// A token, and what its issuer tells beside it. Not `Debug`: the text is a credential.
#[derive(Clone)]
pub struct Token {
    pub text: String,
    pub tenant: Uuid,
    /// Unix times, as a good token has them.
    pub not_before: i64,
    pub expires_on: i64,
    pub key_id: String,
}

#[derive(Debug, thiserror::Error)]
pub enum MintError {
    #[error(transparent)]
    Lookup(#[from] LookupError),
    #[error("the directory has no resource \"{name}\"; it has {known}")]
    Resource { name: String, known: String },
    #[error(transparent)]
    Key(#[from] SigningKeyError),
    #[error("the token has {natural} bytes without filling, more than the {wanted} wanted")]
    TooSmall { natural: usize, wanted: usize },
    #[error("the random number generator failed")]
    Random,
}

/// Issues a token.
///
/// # Errors
///
/// When the directory knows no such principal or resource, when the keys can't be used, and when
/// the wanted size is less than what the token has anyway.
pub fn mint(
    directory: &Directory,
    keys: &SigningKeys,
    request: &TokenRequest,
) -> Result<Token, MintError> {
    let principal = directory.find(&request.subject)?;
    // The emulator's own address stands for Graph, which it serves there.
    let graph = (request.audience.trim_end_matches('/') == request.authority.address())
        .then(|| {
            directory
                .resources
                .iter()
                .find(|resource| resource.is_graph())
        })
        .flatten();
    let resource = graph
        .or_else(|| directory.resource(&request.audience))
        .ok_or_else(|| MintError::Resource {
            name: request.audience.clone(),
            known: directory
                .resources
                .iter()
                .flat_map(|resource| resource.audiences.iter().map(String::as_str))
                .collect::<Vec<_>>()
                .join(", "),
        })?;
    let version = request.version.unwrap_or(resource.version);
    let lifetime = match request.expires_in {
        Some(seconds) => seconds,
        None => lifetime(&principal)?,
    };
    let (not_before, expires_on) = validity(request.now, lifetime);
    let current = keys.current()?;

    let claims = claims::good(&claims::Ingredients {
        principal,
        resource,
        audience: &request.audience,
        version,
        client: request.client.unwrap_or(AZURE_CLI),
        proof: request.proof,
        authority: &request.authority,
        not_before,
        expires_on,
        unique_id: unique_id()?,
    });
    let mut draft = Draft::new(keys, header(version, current.key_id()), claims);
    if resource.is_graph() {
        draft.set_header(NONCE, unique_id()?);
    }
    for deviation in &request.deviations {
        deviation.apply(&mut draft);
    }
    for (name, value) in &request.claims {
        draft.claims.insert(name.clone(), value.clone());
    }
    for name in &request.without {
        draft.claims.remove(name);
    }
    for (name, value) in &request.header {
        draft.header.insert(name.clone(), value.clone());
    }
    if let Some(size) = request.size {
        draft.fill(size)?;
    }
    Ok(Token {
        text: draft.finish()?,
        tenant: principal.tenant.id,
        not_before,
        expires_on,
        key_id: current.key_id().to_owned(),
    })
}

/// `x5t` repeats the key's id in v1 tokens only.
fn header(version: TokenVersion, key_id: &str) -> Map<String, Value> {
    let mut header = Map::new();
    header.insert("typ".to_owned(), "JWT".into());
    header.insert("alg".to_owned(), "RS256".into());
    header.insert("kid".to_owned(), key_id.into());
    if version == TokenVersion::V1 {
        header.insert("x5t".to_owned(), key_id.into());
    }
    header
}

/// Users get 60 to 90 minutes at random, applications an hour, managed identities a day.
fn lifetime(principal: &Principal<'_>) -> Result<i64, MintError> {
    Ok(match principal.identity {
        Identity::User(_) => {
            let mut bytes = [0; 2];
            rand::fill(&mut bytes).map_err(|_| MintError::Random)?;
            3600 + i64::from(u16::from_be_bytes(bytes) % 1800)
        }
        Identity::Application(_) => 3599,
        Identity::ManagedIdentity(_) => 86_400,
    })
}

/// `nbf` (and `iat`) and `exp`. A token that has expired was good once: it is as old as it must be.
fn validity(now: i64, lifetime: i64) -> (i64, i64) {
    let issued = if lifetime > 0 {
        now
    } else {
        now + lifetime - 3599
    };
    (issued - BACKDATED, now + lifetime)
}

/// The token's own id, 16 random bytes, as `uti` carries it.
fn unique_id() -> Result<String, MintError> {
    use base64::Engine as _;
    let mut bytes = [0; 16];
    rand::fill(&mut bytes).map_err(|_| MintError::Random)?;
    Ok(base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes))
}

/// A value that only says that whoever has it was given it.
pub(crate) fn opaque_value() -> Result<String, MintError> {
    use base64::Engine as _;
    let mut bytes = [0; 32];
    rand::fill(&mut bytes).map_err(|_| MintError::Random)?;
    Ok(base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes))
}

#[cfg(test)]
mod tests;
