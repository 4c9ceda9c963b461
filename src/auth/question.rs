//! Whether a verified token's principal may sign in as the role: its claims, the label, the group and the revocations.

use entra_token::{
    Claims, EXPIRY_CHECK, Judgment, Mapping, Membership, Policy, PrincipalKind, Reason,
    RevocableIds, judge,
};

use super::refusal::Refusal;
use super::{membership, record};
use crate::audit::{EventCheck, EventMembership, MembershipSource};
use crate::text::SanitizedText;
use crate::{clock, sessions, settings};

/// What the verified token is compared with.
pub struct Question<'a> {
    pub mapping: &'a Mapping,
    pub claims: &'a Claims,
    pub policy: &'a Policy,
    /// Whether the token may have expired.
    pub is_excused: bool,
    /// Whether the decision may wait for the directory.
    pub waits: bool,
}

impl Question<'_> {
    /// Compares the token with the role's label, by all further steps. Of an accepted sign-in, returns the checks that the
    /// audit keeps: how the membership in the group is known, and that the token has expired.
    ///
    /// The directory is asked last, when every other check has passed.
    pub fn compare(&self, now: i64, role: &str) -> Result<Vec<EventCheck>, Refusal> {
        let group = self.mapping.object_id;
        let claimed = match self.claims.membership(group) {
            // Assigned groups only, no nested groups, or an older membership: the directory knows more.
            Membership::NotMember
                if !settings::groups_claim_is_complete() && settings::directory().is_some() =>
            {
                Membership::Unknown
            }
            claimed => claimed,
        };
        let mut source = match claimed {
            Membership::Unknown if self.claims.has_group_names() => MembershipSource::Names,
            _ => MembershipSource::Claim,
        };
        let mut problem = None;
        let mut judgment = self.judge(claimed, now, role)?;
        if judgment.hinges_on_membership()
            && let Some(known) = membership::look_up(self.claims, group, self.waits)
        {
            // The look-up may have taken a while: the token is judged as of now.
            let now = clock::micros() / 1_000_000;
            judgment = self.judge(known.membership, now, role)?;
            (source, problem) = (known.source, known.problem);
        }
        let is_group_role = self.mapping.kind == PrincipalKind::Group;
        let asked = is_group_role.then_some(EventMembership { group, source });
        let mut checks = record::checks(&judgment, asked);
        if self.is_excused {
            let expiry = SanitizedText::from(EXPIRY_CHECK);
            let excused = checks.iter_mut().filter(|check| check.name == expiry);
            excused.for_each(|check| check.reason = Some(Reason::Expired));
        }
        let Some(reason) = judgment.refusal else {
            checks.retain(|check| check.membership.is_some() || check.reason.is_some());
            return Ok(checks);
        };
        let refusal = Refusal::new(reason, role).with_checks(checks);
        Err(match problem {
            Some(problem) => refusal.with_detail(&problem),
            None => refusal.with_claim(self.claims.mistyped(reason)),
        })
    }

    fn judge(&self, membership: Membership, now: i64, role: &str) -> Result<Judgment, Refusal> {
        let is_revoked = match RevocableIds::of(self.mapping, self.claims) {
            Some(ids) => sessions::is_revoked(&ids).map_err(|reason| Refusal::new(reason, role))?,
            None => false,
        };
        let judgment = judge(self.policy, self.mapping, self.claims, membership, now);
        let judgment = if self.is_excused {
            judgment.with_expiry_excused()
        } else {
            judgment
        };
        Ok(judgment.with_revocation(is_revoked))
    }
}
