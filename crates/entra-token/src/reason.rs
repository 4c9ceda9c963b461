//! Why a sign-in was refused: one stable code per rule.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Where in the course of a sign-in a [`Reason`] arises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// The server's settings, the role and the connection; no token is needed to judge these.
    Connection = 1,
    /// The form of the token.
    Envelope = 2,
    /// The signing key and the signature.
    Signature = 3,
    /// Issuer and tenant.
    Issuer = 4,
    /// Audience.
    Audience = 5,
    /// Times.
    Time = 6,
    /// Delegated or app-only.
    Kind = 7,
    /// The principal, or its group membership.
    Principal = 8,
    /// Multi-factor authentication, where the role asks for it.
    Mfa = 9,
    /// Revocations.
    Revocation = 10,
}

/// Declares [`Reason`] from one table, so that a reason cannot lack its step, code or description.
macro_rules! reasons {
    ($($step:ident { $($name:ident $code:literal $description:literal)+ })+) => {
        /// Why a sign-in was refused.
        ///
        /// The code is the same in the audit, the server log, the documentation and the tests, and
        /// does not change between versions.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Reason {
            $($(#[doc = $description] $name,)+)+
        }

        impl Reason {
            /// Every reason, in the order in which the checks run.
            pub const ALL: &'static [Reason] = &[$($(Reason::$name,)+)+];

            /// The stable code, in kebab-case.
            pub const fn code(self) -> &'static str {
                match self { $($(Reason::$name => $code,)+)+ }
            }

            /// One sentence that says what was wrong, for people who look after the server.
            pub const fn description(self) -> &'static str {
                match self { $($(Reason::$name => $description,)+)+ }
            }

            /// The step of the decision that this reason belongs to.
            pub const fn step(self) -> Step {
                match self { $($(Reason::$name => Step::$step,)+)+ }
            }
        }
    };
}

reasons! {
    Connection {
        EntraDisabled "entra-disabled"
            "Sign-in with Microsoft Entra ID is switched off on this server."
        TenantNotConfigured "tenant-not-configured"
            "No tenant is configured, so no token can be accepted."
        AudienceNotConfigured "audience-not-configured"
            "No audience is configured, so no token can be accepted."
        RoleNotMapped "role-not-mapped"
            "The role carries no security label that maps it to an Entra principal."
        LabelInvalid "label-invalid"
            "A security label of the role is not well-formed."
        LabelConflict "label-conflict"
            "The role's two security labels disagree, or one of them is missing."
        RoleNotLogin "role-not-login"
            "The role may not log in."
        RoleExpired "role-expired"
            "The role's VALID UNTIL has passed."
        TlsRequired "tls-required"
            "The connection is not encrypted, so the token was not asked for."
        RevocationsUnavailable "revocations-unavailable"
            "The list of revoked principals has not been loaded yet."
        NoPassword "no-password"
            "The client left when it was asked for the token or password."
        WrongLine "wrong-line"
            "The role is mapped to an Entra principal, but the connection matched a pg_hba.conf line that does not ask for a token."
        MappingChanged "mapping-changed"
            "The role or its security labels changed while the sign-in was under way."
        PasswordDisabled "password-disabled"
            "Password sign-in is switched off on this server."
        PasswordFailed "password-failed"
            "The password of a local role was wrong, or there is no such role."
        MethodRefused "method-refused"
            "The method of the pg_hba.conf line refused the client."
        NoVerdict "no-verdict"
            "The connection came through the aadauth PAM line, but this library did not decide it."
        InternalError "internal-error"
            "The decision could not be completed because of an internal error."
        Interrupted "interrupted"
            "The connection ended before the decision was made."
    }
    Envelope {
        TokenTooLarge "token-too-large"
            "The token is larger than the server accepts."
        TokenMalformed "token-malformed"
            "The password is not a compact JWS: three parts in canonical base64url."
        HeaderInvalid "header-invalid"
            "The token's header is not a JSON object of the expected members, each present once."
        AlgorithmNotAllowed "algorithm-not-allowed"
            "The token is signed with another algorithm than RS256."
        TypeNotAllowed "type-not-allowed"
            "The token's header does not say that it is a JWT or an at+jwt."
        HeaderExtensionNotAllowed "header-extension-not-allowed"
            "The token's header uses an extension that changes how the token is to be read."
        ClaimsMalformed "claims-malformed"
            "The token's payload is not a JSON object, repeats a member, or holds a claim of the wrong type."
    }
    Signature {
        IssuerNotServed "issuer-not-served"
            "The token names an issuer, tenant or version that this server does not serve."
        SigningKeysUnavailable "signing-keys-unavailable"
            "The server holds no signing keys of the token's issuer."
        WorkerNotRunning "worker-not-running"
            "The background worker that fetches signing keys is not running."
        KeyUnknown "key-unknown"
            "The token's key id is not among the issuer's signing keys."
        KeyRefreshCoolingDown "key-refresh-cooling-down"
            "The token's key id is unknown, and the signing keys were refreshed too recently to ask again."
        KeyRefreshTimedOut "key-refresh-timed-out"
            "The token's key id is unknown, and the refresh of the signing keys did not end in time."
        SignatureInvalid "signature-invalid"
            "The token's signature was not made by the issuer's key of that id."
    }
    Issuer {
        IssuerMismatch "issuer-mismatch"
            "The token's issuer is not the configured tenant's issuer for that token version."
        VersionMismatch "version-mismatch"
            "The token's version is not the one whose key set vouches for it."
        TenantMismatch "tenant-mismatch"
            "The token's tenant is not the configured one, or not the one in the role's label."
    }
    Audience {
        AudienceMismatch "audience-mismatch"
            "The token was issued for another resource than this server."
    }
    Time {
        TimeClaimsMissing "time-claims-missing"
            "The token lacks one of its times exp, nbf and iat."
        Expired "expired"
            "The token has expired."
        NotYetValid "not-yet-valid"
            "The token is not valid yet."
        IssuedInFuture "issued-in-future"
            "The token was issued in the future, by the server's clock."
        LifetimeTooLong "lifetime-too-long"
            "The token is valid for longer than the server accepts, or for no time at all."
    }
    Kind {
        TokenKindUnknown "token-kind-unknown"
            "The token is neither a delegated nor an app-only access token."
        ClientIdMissing "client-id-missing"
            "The token does not say which application obtained it."
        UserTokenRequired "user-token-required"
            "The role belongs to a user, and the token is an application's."
        ServiceTokenRequired "service-token-required"
            "The role belongs to a service principal, and the token is a user's."
    }
    Principal {
        ObjectIdMissing "object-id-missing"
            "The token has no object id."
        ObjectIdMismatch "object-id-mismatch"
            "The token's principal is not the one in the role's label."
        GroupsUnknown "groups-unknown"
            "The token does not say which groups its principal is in, and no directory could be asked."
        NotAGroupMember "not-a-group-member"
            "The token's principal is not a member of the role's group."
    }
    Mfa {
        MfaMissing "mfa-missing"
            "The role asks for multi-factor authentication, and the token was obtained without it."
        MfaUnprovable "mfa-unprovable"
            "The role asks for multi-factor authentication, which a v2 token cannot prove."
    }
    Revocation {
        Revoked "revoked"
            "The principal or the token has been revoked."
    }
}

impl Reason {
    /// The reason whose [`code`](Self::code) this is.
    pub fn from_code(code: &str) -> Option<Reason> {
        Self::ALL
            .iter()
            .copied()
            .find(|reason| reason.code() == code)
    }

    /// Whether the refusal fell while the token was in hand but its signature not yet verified.
    ///
    /// The client then gets one generic text, and no claim of the token is shown or recorded. The
    /// reasons of [`Step::Connection`] are not meant: they say nothing about a token.
    pub const fn before_signature(self) -> bool {
        matches!(self.step(), Step::Envelope | Step::Signature)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.code())
    }
}

impl Serialize for Reason {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.code())
    }
}

impl<'de> Deserialize<'de> for Reason {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let code = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Reason::from_code(&code)
            .ok_or_else(|| serde::de::Error::custom("no such reason code for a refused sign-in"))
    }
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )]

    use std::collections::HashSet;

    use super::*;

    #[test]
    fn codes_are_unique_kebab_case_and_lead_back() {
        let mut seen = HashSet::new();
        for reason in Reason::ALL.iter().copied() {
            let code = reason.code();
            assert!(seen.insert(code), "{code} twice");
            assert!(code.split('-').all(|word| {
                !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase())
            }));
            assert_eq!(Reason::from_code(code), Some(reason));
            assert_eq!(serde_json::to_string(&reason).unwrap(), format!("{code:?}"));
            assert_eq!(
                serde_json::from_str::<Reason>(&format!("{code:?}")).unwrap(),
                reason
            );
        }
        assert_eq!(seen.len(), 53);
        assert_eq!(Reason::from_code("Expired"), None);
        assert_eq!(Reason::from_code(""), None);
        assert!(serde_json::from_str::<Reason>("\"accepted\"").is_err());
    }

    #[test]
    fn descriptions_are_sentences() {
        for reason in Reason::ALL {
            let text = reason.description();
            assert!(text.starts_with(|c: char| c.is_ascii_uppercase()), "{text}");
            assert!(text.ends_with('.') && !text.contains("  "), "{text}");
        }
    }

    #[test]
    fn reasons_stand_in_the_order_of_the_checks() {
        assert!(Reason::ALL.is_sorted_by_key(|reason| reason.step()));
    }

    #[test]
    fn only_the_token_s_form_and_signature_count_as_before_the_signature() {
        assert!(!Reason::TlsRequired.before_signature());
        assert!(Reason::TokenTooLarge.before_signature());
        assert!(Reason::ClaimsMalformed.before_signature());
        assert!(Reason::KeyUnknown.before_signature());
        assert!(Reason::SignatureInvalid.before_signature());
        assert!(!Reason::IssuerMismatch.before_signature());
        assert!(!Reason::Revoked.before_signature());
    }
}
