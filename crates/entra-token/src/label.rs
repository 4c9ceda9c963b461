//! Security labels: which Entra principal a PostgreSQL role is mapped to.
//!
//! A mapped role carries two labels, both in the grammar that Azure Database for PostgreSQL uses:
//! the public one of provider `pgaadauth`, which people type, and the internal one of provider
//! `pgaadauth-int`, which the decision reads.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use uuid::Uuid;

use crate::guid;
use crate::reason::Reason;

/// The longest label, in bytes. A longer one could be moved out of line (toasted) by PostgreSQL,
/// and could then not be read before a database is chosen, which is when sign-ins are decided.
pub const MAX_LABEL: usize = 1000;

/// What sort of principal a role is mapped to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PrincipalKind {
    /// A user of the directory, guests included.
    User,
    /// A group; its members sign in with the group role's name and their own tokens.
    Group,
    /// A service principal: an application or a managed identity.
    Service,
}

impl PrincipalKind {
    /// The word that labels and functions use.
    pub const fn word(self) -> &'static str {
        match self {
            PrincipalKind::User => "user",
            PrincipalKind::Group => "group",
            PrincipalKind::Service => "service",
        }
    }
}

impl fmt::Display for PrincipalKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

impl FromStr for PrincipalKind {
    type Err = LabelError;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        [
            PrincipalKind::User,
            PrincipalKind::Group,
            PrincipalKind::Service,
        ]
        .into_iter()
        .find(|kind| kind.word() == word)
        .ok_or(LabelError::UnknownType)
    }
}

/// The label of provider `pgaadauth`: `aadauth[,oid=GUID,type=user|group|service][,admin][,mfa]`.
///
/// The members behind `aadauth` may be in any order, each at most once. Nothing else is
/// accepted, spaces included: a member that were silently ignored might be one that was meant to
/// restrict the role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PublicLabel {
    /// No object id: the directory is asked for the principal of the role's name.
    ByName {
        /// The role may manage other mapped roles.
        admin: bool,
        /// The role demands multi-factor authentication.
        mfa: bool,
    },
    /// A principal by its object id.
    Principal {
        /// Sort of principal.
        kind: PrincipalKind,
        /// The principal's object id (for services the application id is accepted as well).
        object_id: Uuid,
        /// The role may manage other mapped roles.
        admin: bool,
        /// The role demands multi-factor authentication.
        mfa: bool,
    },
}

impl PublicLabel {
    /// The form that [`FromStr`] accepts, for hints.
    pub const ACCEPTED: &'static str = "aadauth[,oid=GUID,type=user|group|service][,admin][,mfa]";

    /// Whether the role may manage other mapped roles.
    pub const fn admin(&self) -> bool {
        match self {
            PublicLabel::ByName { admin, .. } | PublicLabel::Principal { admin, .. } => *admin,
        }
    }

    /// Whether the role demands multi-factor authentication.
    pub const fn mfa(&self) -> bool {
        match self {
            PublicLabel::ByName { mfa, .. } | PublicLabel::Principal { mfa, .. } => *mfa,
        }
    }

    /// Whether both labels say the same about the role, as far as both say it.
    ///
    /// A label by name leaves open who the principal is; `admin` is in both.
    pub fn agrees_with(&self, internal: &InternalLabel) -> bool {
        let same_principal = match self {
            PublicLabel::ByName { .. } => true,
            PublicLabel::Principal {
                kind, object_id, ..
            } => *kind == internal.kind && *object_id == internal.object_id,
        };
        same_principal && self.admin() == internal.admin
    }
}

impl FromStr for PublicLabel {
    type Err = LabelError;

    fn from_str(label: &str) -> Result<Self, Self::Err> {
        check_text(label)?;
        let (word, rest) = match label.split_once(',') {
            Some((word, rest)) => (word, Some(rest)),
            None => (label, None),
        };
        if word != "aadauth" {
            return Err(LabelError::NotAadauth);
        }
        let members = Members::read(rest, &["oid", "type", "admin", "mfa"])?;
        let (admin, mfa) = (members.admin, members.mfa);
        match (members.kind, members.object_id) {
            (None, None) => Ok(PublicLabel::ByName { admin, mfa }),
            (Some(kind), Some(object_id)) => Ok(PublicLabel::Principal {
                kind,
                object_id,
                admin,
                mfa,
            }),
            (None, Some(_)) => Err(LabelError::Missing("type")),
            (Some(_), None) => Err(LabelError::Missing("oid")),
        }
    }
}

/// Writes the label as Azure writes it.
impl fmt::Display for PublicLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("aadauth")?;
        if let PublicLabel::Principal {
            kind, object_id, ..
        } = self
        {
            write!(f, ",oid={},type={kind}", object_id.as_hyphenated())?;
        }
        if self.admin() {
            f.write_str(",admin")?;
        }
        if self.mfa() {
            f.write_str(",mfa")?;
        }
        Ok(())
    }
}

/// The label of provider `pgaadauth-int`: `type=user|group|service,oid=GUID,tenant_id=GUID[,admin]`,
/// the members in any order, each at most once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InternalLabel {
    /// Sort of principal.
    pub kind: PrincipalKind,
    /// The principal's object id (for services the application id is accepted as well).
    pub object_id: Uuid,
    /// The tenant that the principal belongs to.
    pub tenant: Uuid,
    /// The role may manage other mapped roles.
    pub admin: bool,
}

impl InternalLabel {
    /// The form that [`FromStr`] accepts, for hints.
    pub const ACCEPTED: &'static str = "type=user|group|service,oid=GUID,tenant_id=GUID[,admin]";
}

impl FromStr for InternalLabel {
    type Err = LabelError;

    fn from_str(label: &str) -> Result<Self, Self::Err> {
        check_text(label)?;
        let members = Members::read(Some(label), &["type", "oid", "tenant_id", "admin"])?;
        Ok(InternalLabel {
            kind: members.kind.ok_or(LabelError::Missing("type"))?,
            object_id: members.object_id.ok_or(LabelError::Missing("oid"))?,
            tenant: members.tenant.ok_or(LabelError::Missing("tenant_id"))?,
            admin: members.admin,
        })
    }
}

/// Writes the label as Azure writes it.
impl fmt::Display for InternalLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (object_id, tenant) = (self.object_id.as_hyphenated(), self.tenant.as_hyphenated());
        write!(f, "type={},oid={object_id},tenant_id={tenant}", self.kind)?;
        if self.admin {
            f.write_str(",admin")?;
        }
        Ok(())
    }
}

/// Who a role is mapped to, from its two labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// Sort of principal.
    pub kind: PrincipalKind,
    /// The principal's object id (for services the application id is accepted as well).
    pub object_id: Uuid,
    /// The tenant that the principal belongs to.
    pub tenant: Uuid,
    /// The role may manage other mapped roles.
    pub admin: bool,
    /// The role demands multi-factor authentication.
    pub mfa: bool,
}

impl Mapping {
    /// Reads a role's mapping; `Ok(None)` if the role carries neither label.
    ///
    /// The internal label decides, `mfa` comes from the public one.
    ///
    /// # Errors
    ///
    /// [`Reason::LabelInvalid`] if a label can't be read, [`Reason::LabelConflict`] if one is
    /// missing or the two disagree. A role with damaged labels is still a mapped role, and
    /// must be refused rather than taken for a local one.
    pub fn from_labels(
        public: Option<&str>,
        internal: Option<&str>,
    ) -> Result<Option<Mapping>, Reason> {
        if public.is_none() && internal.is_none() {
            return Ok(None);
        }
        let public = public
            .map(str::parse::<PublicLabel>)
            .transpose()
            .map_err(|_| Reason::LabelInvalid)?
            .ok_or(Reason::LabelConflict);
        let internal = internal
            .map(str::parse::<InternalLabel>)
            .transpose()
            .map_err(|_| Reason::LabelInvalid)?
            .ok_or(Reason::LabelConflict);
        let (public, internal) = (public?, internal?);
        if !public.agrees_with(&internal) {
            return Err(Reason::LabelConflict);
        }
        let InternalLabel {
            kind,
            object_id,
            tenant,
            admin,
        } = internal;
        Ok(Some(Mapping {
            kind,
            object_id,
            tenant,
            admin,
            mfa: public.mfa(),
        }))
    }
}

/// Why a text is not a label.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum LabelError {
    /// Longer than [`MAX_LABEL`].
    #[error("the label is longer than {MAX_LABEL} bytes")]
    TooLong,
    /// A space, a control character, or a character beyond ASCII.
    #[error("the label contains a space or another character that no member has")]
    UnexpectedCharacter,
    /// A public label that does not begin with the word `aadauth`.
    #[error("the label must begin with \"aadauth\", alone or followed by a comma")]
    NotAadauth,
    /// Two commas in a row, or one at the end.
    #[error("the label has an empty member: separate members with single commas")]
    EmptyMember,
    /// A member that this label does not have.
    #[error("unknown member \"{member}\": accepted are {accepted}")]
    UnknownMember {
        /// The member's name as it was written, shortened.
        member: String,
        /// The members that are accepted.
        accepted: &'static str,
    },
    /// A member that occurs twice.
    #[error("member \"{0}\" is given more than once")]
    Repeated(&'static str),
    /// A member without which the label says nothing.
    #[error("member \"{0}\" is missing")]
    Missing(&'static str),
    /// A flag with a value.
    #[error("member \"{0}\" takes no value")]
    FlagWithValue(&'static str),
    /// A member that should hold a GUID holds something else.
    #[error(
        "member \"{0}\" must be a GUID such as 6f1c2d3e-4a5b-4c6d-8e7f-a0b1c2d3e4f5, without \
         braces and not all zeros"
    )]
    NotAGuid(&'static str),
    /// Not the name of a [`PrincipalKind`].
    #[error("unknown principal type: accepted are user, group and service")]
    UnknownType,
}

/// Refuses what no label contains, before anything is made of it.
fn check_text(label: &str) -> Result<(), LabelError> {
    if label.len() > MAX_LABEL {
        return Err(LabelError::TooLong);
    }
    if !label.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(LabelError::UnexpectedCharacter);
    }
    Ok(())
}

/// The members of a label, none of them required yet.
#[derive(Default)]
struct Members {
    kind: Option<PrincipalKind>,
    object_id: Option<Uuid>,
    tenant: Option<Uuid>,
    admin: bool,
    mfa: bool,
}

impl Members {
    /// Reads comma-separated members, of which only those in `accepted` may occur.
    fn read(text: Option<&str>, accepted: &[&'static str]) -> Result<Members, LabelError> {
        let mut members = Members::default();
        let mut seen: Vec<&'static str> = Vec::with_capacity(accepted.len());
        for member in text.into_iter().flat_map(|text| text.split(',')) {
            if member.is_empty() {
                return Err(LabelError::EmptyMember);
            }
            let (name, value) = match member.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (member, None),
            };
            let name = *accepted
                .iter()
                .find(|known| **known == name)
                .ok_or_else(|| LabelError::UnknownMember {
                    member: name.chars().take(64).collect(),
                    accepted: if accepted.contains(&"tenant_id") {
                        "type, oid, tenant_id and admin"
                    } else {
                        "oid, type, admin and mfa"
                    },
                })?;
            if seen.contains(&name) {
                return Err(LabelError::Repeated(name));
            }
            seen.push(name);
            let guid = || {
                value
                    .and_then(guid::parse)
                    .ok_or(LabelError::NotAGuid(name))
            };
            match (name, value) {
                ("type", _) => members.kind = Some(value.unwrap_or_default().parse()?),
                ("oid", _) => members.object_id = Some(guid()?),
                ("tenant_id", _) => members.tenant = Some(guid()?),
                (_, Some(_)) => return Err(LabelError::FlagWithValue(name)),
                ("admin", None) => members.admin = true,
                (_, None) => members.mfa = true,
            }
        }
        Ok(members)
    }
}

#[cfg(test)]
mod tests;
