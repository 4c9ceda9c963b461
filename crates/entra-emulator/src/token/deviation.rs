//! Deviations: each makes a token that is good in every respect but one.

use std::fmt;

use super::draft::{Draft, Edit, Signer};

/// One way in which a token can be wrong.
///
/// `expected` is the reason for which aadauth refuses such a token where it accepts the good one.
/// The reason presumes that the token is `held` as the deviation says: that the good token would
/// sign in to a role of that kind.
#[derive(Debug)]
pub struct Deviation {
    pub name: &'static str,
    pub expected: &'static str,
    pub held: SubjectKind,
    /// What is different, for people.
    pub about: &'static str,
    pub(super) change: Change,
}

/// The kind of role for which the good token is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubjectKind {
    /// Any: the difference shows before the role matters. Try it with a user's token.
    Any,
    User,
    /// A user's role whose label asks for MFA, and a token that proves it.
    UserWithMfa,
    /// A group's role, and the token of a member.
    Group,
    Service,
}

impl fmt::Display for SubjectKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            SubjectKind::Any => "any",
            SubjectKind::User => "user",
            SubjectKind::UserWithMfa => "user-with-mfa",
            SubjectKind::Group => "group",
            SubjectKind::Service => "service",
        })
    }
}

/// How a draft becomes different.
#[derive(Clone, Copy, Debug)]
pub(super) enum Change {
    /// A claim is removed.
    Without(&'static str),
    /// A claim has another value, given as JSON.
    Claim(&'static str, &'static str),
    /// A header member is removed.
    WithoutHeader(&'static str),
    /// A header member has another value, given as JSON.
    Header(&'static str, &'static str),
    /// The header says so, and the signature is made accordingly.
    Signed(&'static str, Signer),
    HeaderText(Edit),
    ClaimsText(Edit),
    TokenText(Edit),
    Draft(fn(&mut Draft<'_>)),
}

impl Deviation {
    pub(super) fn apply(&self, draft: &mut Draft<'_>) {
        match self.change {
            Change::Without(claim) => draft.remove(claim),
            Change::Claim(claim, json) => draft.set(claim, parsed(json)),
            Change::WithoutHeader(member) => {
                draft.header.remove(member);
            }
            Change::Header(member, json) => draft.set_header(member, parsed(json)),
            Change::Signed(algorithm, signer) => {
                draft.set_header("alg", algorithm);
                draft.signer = signer;
            }
            Change::HeaderText(edit) => draft.header_edits.push(edit),
            Change::ClaimsText(edit) => draft.claims_edits.push(edit),
            Change::TokenText(edit) => draft.token_edits.push(edit),
            Change::Draft(change) => change(draft),
        }
    }
}

/// The table holds nothing but JSON, as a test makes sure.
fn parsed(json: &str) -> serde_json::Value {
    serde_json::from_str(json).unwrap_or_default()
}
