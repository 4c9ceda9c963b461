//! The device codes that were issued, and what their users did with them.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::super::unproven::Unproven;
use super::refresh_tokens::SignedIn;
use super::scope::UserScope;
use crate::clock::now;
use crate::directory::{Directory, Principal, Subject};
use crate::token::Proof;

/// Seconds for which a code is good, and between two questions about it.
pub(super) const LIFETIME: i64 = 900;
pub(super) const INTERVAL: i64 = 5;

/// The codes that were handed out, by device code.
#[derive(Default)]
pub(in crate::server) struct DeviceCodes(HashMap<String, Pending>);

/// A code that a client waits for.
pub(super) struct Pending {
    pub(super) user_code: String,
    pub(super) client: Uuid,
    /// The tenant that was asked, unless it was any.
    pub(super) tenant: Option<Uuid>,
    pub(super) scope: UserScope,
    pub(super) expires_on: i64,
    pub(super) asked_last: Option<i64>,
    pub(super) progress: Progress,
}

pub(super) enum Progress {
    Waiting,
    Approved { tenant: Uuid, user: Uuid },
    Declined,
    Redeemed,
}

/// What the user does with a code.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceOrder {
    pub user_code: String,
    pub answer: DeviceAnswer,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeviceAnswer {
    /// This user signs in, named by user principal name or object id.
    Approve(String),
    Decline,
    /// The code's time is over.
    Expire,
}

impl DeviceCodes {
    /// Remembers a code that was handed out.
    pub(super) fn insert(&mut self, device_code: String, pending: Pending) {
        // What expired is remembered for a while, to be told apart from what never was.
        self.0.retain(|_, old| now() < old.expires_on + LIFETIME);
        self.0.insert(device_code, pending);
    }

    /// # Errors
    /// No such code waits, or the user isn't one of the tenant that was asked.
    pub(in crate::server) fn answer(
        &mut self,
        directory: &Directory,
        order: &DeviceOrder,
    ) -> Result<(), String> {
        let pending = self
            .0
            .values_mut()
            .find(|pending| {
                pending.user_code.eq_ignore_ascii_case(&order.user_code)
                    && matches!(pending.progress, Progress::Waiting)
            })
            .ok_or_else(|| format!("no code \"{}\" waits", order.user_code))?;
        match &order.answer {
            DeviceAnswer::Approve(user) => {
                let subject = Subject::User(user.clone());
                let found = directory
                    .find(&subject)
                    .map_err(|error| error.to_string())?;
                if pending
                    .tenant
                    .is_some_and(|tenant| tenant != found.tenant.id)
                {
                    return Err(format!("\"{user}\" is not of the tenant that was asked"));
                }
                pending.progress = approved(&found);
            }
            DeviceAnswer::Decline => pending.progress = Progress::Declined,
            DeviceAnswer::Expire => pending.expires_on = now(),
        }
        Ok(())
    }

    /// Who signed in by this code, and for what; the code is good for nothing more then.
    pub(super) fn redeem(
        &mut self,
        code: &str,
        client: Uuid,
    ) -> Result<(SignedIn, UserScope), Unproven> {
        let pending = self
            .0
            .get_mut(code)
            .filter(|pending| pending.client == client);
        let pending = pending.ok_or(Unproven::DeviceCodeUnknown)?;
        match pending.progress {
            Progress::Redeemed => Err(Unproven::DeviceCodeRedeemed),
            Progress::Declined => Err(Unproven::DeviceCodeDeclined),
            _ if pending.expires_on <= now() => Err(Unproven::DeviceCodeExpired),
            Progress::Waiting => {
                let asked_last = pending.asked_last.replace(now());
                Err(match asked_last {
                    Some(last) if now() - last < INTERVAL => Unproven::DeviceCodeTooOften,
                    _ => Unproven::DeviceCodePending,
                })
            }
            Progress::Approved { tenant, user } => {
                pending.progress = Progress::Redeemed;
                let signed_in = SignedIn {
                    tenant,
                    user,
                    client,
                    proof: Proof::Usual,
                };
                Ok((signed_in, pending.scope.clone()))
            }
        }
    }
}

pub(super) fn approved(user: &Principal<'_>) -> Progress {
    Progress::Approved {
        tenant: user.tenant.id,
        user: user.identity.object_id(),
    }
}
