//! Authorization codes, which the authorization endpoint gave to a client.

use super::super::authorize::Presented;
use super::super::emulator::locked;
use super::super::error::Refusal;
use super::super::unproven::Unproven;
use super::exchange::{ANYBODY, Exchange, Issued};
use super::refresh_tokens::SignedIn;
use super::user::tenant_with;
use crate::clock::now;
use crate::token::Proof;

impl Exchange<'_> {
    pub(super) fn authorization_code(&self) -> Result<Issued, Refusal> {
        let code = self.grant.code.as_deref();
        let code = code.ok_or(Refusal::ParameterMissing("code"))?;
        let redirect_uri = self.grant.redirect_uri.as_deref();
        let redirect_uri = redirect_uri.ok_or(Refusal::ParameterMissing("redirect_uri"))?;
        let asked = if ANYBODY.contains(&self.place) {
            None
        } else {
            Some(self.tenant()?.id)
        };
        let codes = &self.emulator.authorization_codes;
        let tenant = locked(codes).tenant_of(code);
        let tenant = tenant_with(self.directory, tenant.ok_or(Unproven::CodeUnknown)?)?;
        let presented = Presented {
            client: self.client_of_user(tenant)?,
            asked,
            redirect_uri,
            verifier: self.grant.code_verifier.as_deref(),
        };
        let mut codes = locked(codes);
        let authorization = codes.redeem(code, &presented, now())?;
        let scope = self.scope_of_user(Some(&authorization.scope))?;
        let signed_in = SignedIn {
            tenant: authorization.tenant,
            user: authorization.user,
            client: authorization.client,
            proof: Proof::Usual,
        };
        self.issue_to(signed_in, &scope, authorization.nonce.as_deref())
    }
}
