//! What a token says, typed.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{DeserializeOwned, IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use uuid::Uuid;

use crate::authority::TokenVersion;
use crate::guid;
use crate::json;
use crate::policy::Policy;
use crate::reason::Reason;

/// The claims of a token whose signature is verified; [`Envelope::verify`](crate::Envelope::verify)
/// is the only way to get them.
///
/// Names (`upn`, `name`) are for people to read and decide nothing. All strings are as the token
/// has them, of any length and with any characters. Which claims exist is described at
/// <https://learn.microsoft.com/entra/identity-platform/access-token-claims-reference>.
#[derive(Clone)]
pub struct Claims(Payload);

/// The claims as they stand in the payload. Kept apart from [`Claims`] so that nothing outside this
/// crate can read those from JSON.
#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct Payload {
    iss: Claim<String>,
    tid: Claim<String>,
    ver: Claim<String>,
    aud: Claim<String>,
    exp: Claim<i64>,
    nbf: Claim<i64>,
    iat: Claim<i64>,
    idtyp: Claim<String>,
    scp: Claim<String>,
    oid: Claim<String>,
    sub: Claim<String>,
    appid: Claim<String>,
    azp: Claim<String>,
    amr: Claim<Vec<String>>,
    groups: Claim<Groups>,
    hasgroups: Claim<bool>,
    #[serde(rename = "_claim_names")]
    claim_names: Claim<BTreeMap<String, IgnoredAny>>,
    upn: Claim<String>,
    unique_name: Claim<String>,
    preferred_username: Claim<String>,
    name: Claim<String>,
    uti: Claim<String>,
}

impl Payload {
    /// The first claim that every sign-in is judged by and that has another type than Entra's.
    fn malformed(&self) -> Option<&'static str> {
        first_mistyped([
            ("iss", self.iss.is_mistyped()),
            ("tid", self.tid.is_mistyped()),
            ("ver", self.ver.is_mistyped()),
            ("aud", self.aud.is_mistyped()),
            ("exp", self.exp.is_mistyped()),
            ("nbf", self.nbf.is_mistyped()),
            ("iat", self.iat.is_mistyped()),
            ("idtyp", self.idtyp.is_mistyped()),
            ("scp", self.scp.is_mistyped()),
            ("oid", self.oid.is_mistyped()),
            ("sub", self.sub.is_mistyped()),
            ("appid", self.appid.is_mistyped()),
            ("azp", self.azp.is_mistyped()),
        ])
    }
}

fn first_mistyped<const N: usize>(claims: [(&'static str, bool); N]) -> Option<&'static str> {
    let mut claims = claims.into_iter();
    claims.find_map(|(name, is_mistyped)| is_mistyped.then_some(name))
}

/// A claim as the token has it.
#[derive(Clone, Default)]
enum Claim<T> {
    #[default]
    Absent,
    Typed(T),
    /// A value of another type than Entra's; `null` is one.
    Mistyped,
}

impl<T> Claim<T> {
    fn get(&self) -> Option<&T> {
        match self {
            Claim::Typed(value) => Some(value),
            Claim::Absent | Claim::Mistyped => None,
        }
    }

    fn is_mistyped(&self) -> bool {
        matches!(self, Claim::Mistyped)
    }
}

impl Claim<String> {
    fn text(&self) -> Option<&str> {
        self.get().map(String::as_str)
    }
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for Claim<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        Ok(serde_json::from_value(value).map_or(Claim::Mistyped, Claim::Typed))
    }
}

/// Who acts with a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TokenKind {
    /// A user, through an application; on-behalf-of tokens look the same.
    Delegated,
    /// An application or managed identity by itself.
    AppOnly,
}

/// Whether a principal is a member of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Membership {
    /// It is.
    Member,
    /// It is not.
    NotMember,
    /// It can't be told from what is at hand.
    Unknown,
    /// It could not be found out, for that reason.
    Unanswered(Reason),
}

impl Claims {
    /// Reads a payload; nothing of it is verified here.
    pub(crate) fn read(payload: &[u8]) -> Result<Claims, Reason> {
        let payload: Payload =
            json::object(payload).map_err(|json::Unreadable| Reason::ClaimsMalformed)?;
        match payload.malformed() {
            Some(_) => Err(Reason::ClaimsMalformed),
            None => Ok(Claims(payload)),
        }
    }

    /// The claim because of which [`Claims::read`] fails; `None` if the fault is not a claim's type.
    pub(crate) fn malformed(payload: &[u8]) -> Option<&'static str> {
        json::object::<Payload>(payload).ok()?.malformed()
    }

    /// The claim that led to this refusal because it has another type than Entra's, and so proves
    /// nothing. Only some roles are judged by such a claim.
    pub fn mistyped(&self, refusal: Reason) -> Option<&'static str> {
        match refusal {
            Reason::GroupsUnknown => first_mistyped([
                ("groups", self.0.groups.is_mistyped()),
                ("hasgroups", self.0.hasgroups.is_mistyped()),
                ("_claim_names", self.0.claim_names.is_mistyped()),
            ]),
            Reason::MfaMissing | Reason::MfaUnprovable => {
                first_mistyped([("amr", self.0.amr.is_mistyped())])
            }
            _ => None,
        }
    }

    /// Version that the token says it has; `None` if it is neither `1.0` nor `2.0`.
    pub fn version(&self) -> Option<TokenVersion> {
        self.0.ver.text().and_then(TokenVersion::from_claim)
    }

    /// Tenant that issued the token.
    pub fn tenant(&self) -> Option<Uuid> {
        self.0.tid.text().and_then(guid::parse)
    }

    /// The resource that the token was issued for.
    pub fn audience(&self) -> Option<&str> {
        self.0.aud.text()
    }

    /// Object id of the principal.
    pub fn oid(&self) -> Option<Uuid> {
        self.0.oid.text().and_then(guid::parse)
    }

    /// Application id of the client that obtained the token: `appid` in v1, `azp` in v2.
    pub fn appid(&self) -> Option<Uuid> {
        let claim = match self.version()? {
            TokenVersion::V1 => &self.0.appid,
            TokenVersion::V2 => &self.0.azp,
        };
        claim.text().and_then(guid::parse)
    }

    /// Who acts with the token; `None` if it is not an access token of either kind, as an ID token
    /// is not.
    pub fn kind(&self) -> Option<TokenKind> {
        let has_scopes = self
            .0
            .scp
            .text()
            .is_some_and(|scopes| !scopes.trim().is_empty());
        match self.0.idtyp.text() {
            Some("app") => Some(TokenKind::AppOnly),
            None | Some("user") if has_scopes => Some(TokenKind::Delegated),
            // An application is its own subject; a user's `sub` is different for each resource.
            None if self.0.scp.text().is_none()
                && self.0.oid.text().is_some()
                && self.0.oid.text() == self.0.sub.text() =>
            {
                Some(TokenKind::AppOnly)
            }
            _ => None,
        }
    }

    /// Whether the token says that its principal is a member of `group`.
    ///
    /// Entra leaves `groups` out where the principal is in too many groups, and says so in
    /// `hasgroups` or `_claim_names`. The address in `_claim_sources` is never followed. Where
    /// an entry is no GUID (an app registration can have names of groups emitted), none counts as an id.
    /// <https://learn.microsoft.com/entra/identity-platform/access-token-claims-reference#groups-overage-claim>
    pub fn membership(&self, group: Uuid) -> Membership {
        let is_overflowed = match (&self.0.hasgroups, &self.0.claim_names) {
            (Claim::Mistyped | Claim::Typed(true), _) | (_, Claim::Mistyped) => true,
            (_, names) => names
                .get()
                .is_some_and(|names| names.contains_key("groups")),
        };
        match self.0.groups.get() {
            _ if is_overflowed => Membership::Unknown,
            // A name may be spelled like another group's id, and under which name the group is among
            // them is not for us to guess.
            Some(groups) if groups.has_names => Membership::Unknown,
            Some(groups) if groups.ids.contains(&group) => Membership::Member,
            Some(_) => Membership::NotMember,
            None => Membership::Unknown,
        }
    }

    /// Whether the token has names of groups in place of object ids, as an app registration can be set
    /// to emit them.
    pub fn has_group_names(&self) -> bool {
        self.0.groups.get().is_some_and(|groups| groups.has_names)
    }

    /// How the user authenticated; only v1 tokens say it.
    pub fn amr(&self) -> &[String] {
        self.0.amr.get().map(Vec::as_slice).unwrap_or_default()
    }

    /// The user's sign-in name as the token has it, for people to read; `None` in app-only tokens.
    pub fn upn(&self) -> Option<&str> {
        let instead = match self.version()? {
            // Guests have no `upn`.
            TokenVersion::V1 => &self.0.unique_name,
            TokenVersion::V2 => &self.0.preferred_username,
        };
        self.0.upn.text().or(instead.text())
    }

    /// The principal's display name, for people to read.
    pub fn name(&self) -> Option<&str> {
        self.0.name.text()
    }

    /// The token's own id, which Entra's sign-in log shows too.
    pub fn uti(&self) -> Option<&str> {
        self.0.uti.text()
    }

    /// When the token was issued, in Unix seconds.
    pub fn iat(&self) -> Option<i64> {
        self.0.iat.get().copied()
    }

    /// When the token begins to be valid, in Unix seconds.
    pub fn nbf(&self) -> Option<i64> {
        self.0.nbf.get().copied()
    }

    /// When the token stops being valid, in Unix seconds.
    pub fn exp(&self) -> Option<i64> {
        self.0.exp.get().copied()
    }

    /// The version whose issuer the token names byte for byte; `None` if it is neither's.
    pub(crate) fn issuing_version(&self, policy: &Policy) -> Option<TokenVersion> {
        let issuer = self.0.iss.text()?;
        TokenVersion::ALL
            .into_iter()
            .find(|version| policy.authority.issuer(*version, policy.tenant) == issuer)
    }

    /// Whether the token is meant for one of our audiences.
    pub(crate) fn is_for(&self, policy: &Policy) -> bool {
        self.0
            .aud
            .text()
            .is_some_and(|audience| policy.accepts_audience(audience))
    }

    /// Whether the token has not expired at `now`.
    /// # Errors
    /// [`Reason::Expired`], or [`Reason::TimeClaimsMissing`].
    pub fn check_expiry(&self, policy: &Policy, now: i64) -> Result<(), Reason> {
        let exp = self.exp().ok_or(Reason::TimeClaimsMissing)?;
        // Sums of claims are taken in i128, which no two of them overflow.
        if i128::from(now) < i128::from(exp) + i128::from(policy.clock_skew) {
            Ok(())
        } else {
            Err(Reason::Expired)
        }
    }
}

/// Shows no claim: values are a person's data, and go where they are asked for by name.
impl fmt::Debug for Claims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Claims").finish_non_exhaustive()
    }
}

/// The entries of `groups` that are GUIDs.
#[derive(Clone)]
struct Groups {
    ids: Vec<Uuid>,
    /// There are entries that are no object ids.
    has_names: bool,
}

impl<'de> Deserialize<'de> for Groups {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(GroupsVisitor)
    }
}

struct GroupsVisitor;

impl<'de> Visitor<'de> for GroupsVisitor {
    type Value = Groups;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of strings")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Groups, A::Error> {
        let mut groups = Groups {
            ids: Vec::new(),
            has_names: false,
        };
        while let Some(entry) = seq.next_element::<String>()? {
            match guid::parse(&entry) {
                Some(id) => groups.ids.push(id),
                None => groups.has_names = true,
            }
        }
        Ok(groups)
    }
}
