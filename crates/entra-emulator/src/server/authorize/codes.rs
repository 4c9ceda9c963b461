//! The authorization codes that were issued.

use std::collections::HashMap;

use uuid::Uuid;

use super::super::unproven::Unproven;
use super::challenge::Challenge;

/// Seconds for which a code is good.
const LIFETIME: i64 = 600;

/// The codes, and who signed in by them.
#[derive(Default)]
pub(in crate::server) struct AuthorizationCodes(HashMap<String, Issued>);

struct Issued {
    authorization: Authorization,
    expires_on: i64,
    redeemed: bool,
}

/// Who signed in, and what a client asked for in the beginning.
pub(in crate::server) struct Authorization {
    pub(in crate::server) client: Uuid,
    /// The tenant that was asked, unless it was any.
    pub(in crate::server) asked: Option<Uuid>,
    /// The user's.
    pub(in crate::server) tenant: Uuid,
    pub(in crate::server) user: Uuid,
    pub(in crate::server) redirect_uri: String,
    pub(super) challenge: Option<Challenge>,
    pub(in crate::server) scope: String,
    pub(in crate::server) nonce: Option<String>,
}

/// What a client presents with a code.
pub(in crate::server) struct Presented<'a> {
    pub(in crate::server) client: Uuid,
    pub(in crate::server) asked: Option<Uuid>,
    pub(in crate::server) redirect_uri: &'a str,
    pub(in crate::server) verifier: Option<&'a str>,
}

impl AuthorizationCodes {
    pub(super) fn insert(&mut self, code: String, authorization: Authorization, now: i64) {
        // What expired is remembered for a while, to be told apart from what never was.
        self.0.retain(|_, old| now < old.expires_on + LIFETIME);
        let issued = Issued {
            authorization,
            expires_on: now + LIFETIME,
            redeemed: false,
        };
        self.0.insert(code, issued);
    }

    /// The tenant of the user who signed in by this code.
    pub(in crate::server) fn tenant_of(&self, code: &str) -> Option<Uuid> {
        self.0.get(code).map(|issued| issued.authorization.tenant)
    }

    /// What the code stands for; it is good for nothing more then.
    pub(in crate::server) fn redeem(
        &mut self,
        code: &str,
        presented: &Presented<'_>,
        now: i64,
    ) -> Result<&Authorization, Unproven> {
        let issued = self
            .0
            .get_mut(code)
            .filter(|issued| issued.authorization.client == presented.client)
            .ok_or(Unproven::CodeUnknown)?;
        let authorization = &issued.authorization;
        if issued.redeemed {
            return Err(Unproven::CodeRedeemed);
        }
        if issued.expires_on <= now {
            return Err(Unproven::CodeExpired);
        }
        if authorization.asked != presented.asked {
            return Err(Unproven::CodeOfAnotherTenant);
        }
        if authorization.redirect_uri != presented.redirect_uri {
            return Err(Unproven::CodeForAnotherUri {
                presented: presented.redirect_uri.to_owned(),
                asked: authorization.redirect_uri.clone(),
            });
        }
        match (&authorization.challenge, presented.verifier) {
            (None, None) => {}
            (Some(_), None) => return Err(Unproven::VerifierMissing),
            (Some(challenge), Some(verifier)) if challenge.is_met_by(verifier) => {}
            (_, Some(_)) => return Err(Unproven::VerifierWrong),
        }
        issued.redeemed = true;
        Ok(&issued.authorization)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_expire_after_ten_minutes() {
        let redeemed_after = |seconds: i64| {
            let mut codes = AuthorizationCodes::default();
            let authorization = Authorization {
                client: Uuid::nil(),
                asked: None,
                tenant: Uuid::nil(),
                user: Uuid::nil(),
                redirect_uri: "http://localhost".to_owned(),
                challenge: None,
                scope: "openid".to_owned(),
                nonce: None,
            };
            codes.insert("code".to_owned(), authorization, 1000);
            let presented = Presented {
                client: Uuid::nil(),
                asked: None,
                redirect_uri: "http://localhost",
                verifier: None,
            };
            codes
                .redeem("code", &presented, 1000 + seconds)
                .map(|authorization| authorization.scope.clone())
        };
        assert_eq!(redeemed_after(599).unwrap(), "openid");
        assert!(matches!(redeemed_after(600), Err(Unproven::CodeExpired)));
    }
}
