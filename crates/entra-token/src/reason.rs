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

/// Declares [`Reason`] from one table, so that a reason cannot lack its step, code, description or advice.
macro_rules! reasons {
    ($($step:ident { $($name:ident $code:literal $description:literal $advice:literal)+ })+) => {
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

            /// What those people can do about it, in a sentence or two.
            pub const fn advice(self) -> &'static str {
                match self { $($(Reason::$name => $advice,)+)+ }
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
            "Sign-in with Entra ID is switched off."
            "Set aadauth.authentication to both or entra, and reload."
        TenantNotConfigured "tenant-not-configured"
            "No tenant is configured."
            "Set aadauth.tenant_id, and reload."
        AudienceNotConfigured "audience-not-configured"
            "No audience is configured."
            "Set aadauth.audience, and reload."
        RoleNotMapped "role-not-mapped"
            "The role is not mapped to a principal."
            "Map it with pgaadauth_update_principal_with_oid."
        LabelInvalid "label-invalid"
            "A security label of the role is not well-formed."
            "The catalog pg_shseclabel was changed directly: find out by whom. Then map the role again with pgaadauth_update_principal_with_oid."
        LabelConflict "label-conflict"
            "The role's two security labels disagree, or one is missing."
            "Set either label again; that rewrites the other."
        PooledGroupRole "pooled-group-role"
            "The role is mapped to a group, and the client comes through a pooler."
            "Connect to the server directly, map a role to the user or application, or let members share connections: aadauth.pooler_group_roles."
        PooledPrivilegedRole "pooled-privileged-role"
            "The role is local and privileged, and the client comes through a pooler."
            "Connect to the server directly."
        PooledPasswordLimit "pooled-password-limit"
            "Too many wrong passwords came for the role, or from the pooler."
            "Wait a minute. A client has an old password, or somebody is guessing: the audit has the addresses."
        RoleNotLogin "role-not-login"
            "The role may not log in."
            "Allow it: ALTER ROLE ... LOGIN."
        RoleExpired "role-expired"
            "The role's VALID UNTIL has passed."
            "Set a later time: ALTER ROLE ... VALID UNTIL."
        TlsRequired "tls-required"
            "The connection is not encrypted."
            "Connect with TLS: sslmode=verify-full. With sslmode=prefer, libpq tries again without TLS after a refusal: see the attempt before."
        RevocationsUnavailable "revocations-unavailable"
            "The list of revoked principals has not been loaded yet."
            "Check that the database of aadauth.database exists and that a superuser owns it; aadauth.check_configuration() says what is wrong."
        NoPassword "no-password"
            "The client left when it was asked for the token or password."
            "Nothing: psql connects once before it asks for the password."
        TokenDiscovery "token-discovery"
            "The client asked where to get a token, and sent none."
            "Nothing: clients that speak OAUTHBEARER connect once to ask."
        WrongLine "wrong-line"
            "The role is mapped, but the connection matched a pg_hba.conf line that does not ask for a token."
            "Move the pam line of aadauth above the one that the log names."
        MappingChanged "mapping-changed"
            "The role or its labels changed during the sign-in."
            "Retry."
        PasswordDisabled "password-disabled"
            "Password sign-in is switched off."
            "Map the role, use a break-glass line (peer, cert), or set aadauth.authentication to both."
        PasswordFailed "password-failed"
            "The password of a local role was wrong, or there is no such role."
            "The log says which. A role with an MD5 hash needs a SCRAM password."
        MethodRefused "method-refused"
            "The method of the pg_hba.conf line refused the client."
            "The log says why. For a token or SCRAM, move the pam line of aadauth above that line."
        NoVerdict "no-verdict"
            "The connection matched aadauth's PAM line, but this library did not decide."
            "The PAM service file is missing, unreadable or names something else: look at the file in /etc/pam.d, and install aadauth again (make install, or apt-get install --reinstall)."
        HbaFileNotInForce "hba-file-not-in-force"
            "The connection matched a trust line, and the lines in force are not those of aadauth.hba_file."
            "Another library has set hba_file (SHOW hba_file). Name aadauth last in shared_preload_libraries, and restart."
        InternalError "internal-error"
            "An internal error prevented the decision."
            "The log has the error. Please report it."
        AuditUnavailable "audit-unavailable"
            "The sign-in could not be recorded."
            "The disk is full, the spool has reached aadauth.audit_spool_limit, or its directory cannot be written: aadauth.check_configuration() says which. Until this is fixed, aadauth.audit_failure = allow lets people in."
        Interrupted "interrupted"
            "The connection ended before the decision."
            "The client exceeded authentication_timeout, or the server was stopped."
    }
    Envelope {
        TokenTooLarge "token-too-large"
            "The token is larger than the server accepts."
            "Let the app registration emit only the groups assigned to the application, or raise aadauth.max_token_size."
        TokenMalformed "token-malformed"
            "The password is not a token: a JWS of three parts in base64url."
            "Look for a line break or a cut: terminals cut pasted lines at 4,095 characters, so use PGPASSWORD."
        HeaderInvalid "header-invalid"
            "The token's header is not a JSON object of the expected members."
            "Entra did not issue the token, or it was changed."
        AlgorithmNotAllowed "algorithm-not-allowed"
            "The token is not signed with RS256."
            "The token was not issued by Entra for an API."
        TypeNotAllowed "type-not-allowed"
            "The token's type is neither JWT nor at+jwt."
            "Ask for an access token, not for a proof of possession."
        HeaderExtensionNotAllowed "header-extension-not-allowed"
            "The token's header has an extension that changes its meaning."
            "The token was not issued by Entra for an API."
        ClaimsMalformed "claims-malformed"
            "The token's payload is not a JSON object, repeats a member, or has a required claim of the wrong type."
            "Entra did not issue the token, or it was changed."
    }
    Signature {
        IssuerNotServed "issuer-not-served"
            "This server does not serve the token's issuer, tenant or version."
            "The token is of another tenant or cloud: az login --tenant, or correct aadauth.tenant_id and aadauth.cloud."
        SigningKeysUnavailable "signing-keys-unavailable"
            "The server has no signing keys of the token's issuer."
            "The server has not reached Entra: see the log, and check aadauth.ca_file and the firewall."
        WorkerNotRunning "worker-not-running"
            "The background worker that fetches signing keys is not running."
            "Raise max_worker_processes and restart; the log says why the worker ended."
        KeyUnknown "key-unknown"
            "The token's key id is not among the issuer's signing keys."
            "The token is forged or of another authority: check which authority the client uses."
        KeyRefreshCoolingDown "key-refresh-cooling-down"
            "The token's key id is unknown, and the signing keys have just been fetched."
            "As key-unknown; a new key of Entra's is found within seconds."
        KeyRefreshTimedOut "key-refresh-timed-out"
            "The token's key id is unknown, and fetching the signing keys took too long."
            "Retry, and look at the network from the server to Entra."
        SignatureInvalid "signature-invalid"
            "The token's signature was not made with the issuer's key of that id."
            "The token is for Microsoft Graph, or was forged or changed."
    }
    Issuer {
        IssuerMismatch "issuer-mismatch"
            "The token's issuer is not the configured tenant's."
            "As issuer-not-served."
        VersionMismatch "version-mismatch"
            "The token's version is not that of its signing key."
            "As issuer-not-served."
        TenantMismatch "tenant-mismatch"
            "The token's tenant is not the configured one, or not that of the role's label."
            "The role was mapped in another tenant: map it again, or correct aadauth.tenant_id."
    }
    Audience {
        AudienceMismatch "audience-mismatch"
            "The token is for another resource than this server."
            "Use az account get-access-token --resource with a value of aadauth.audience. v2 tokens name the application id: that must be among them."
    }
    Time {
        TimeClaimsMissing "time-claims-missing"
            "The token lacks exp, nbf or iat."
            "The token was not issued by Entra."
        Expired "expired"
            "The token has expired."
            "Get a new token. If it is new, the server's clock is ahead."
        NotYetValid "not-yet-valid"
            "The token is not valid yet."
            "The server's clock is behind: synchronize it."
        IssuedInFuture "issued-in-future"
            "The token was issued in the future."
            "The server's clock is behind: synchronize it."
        LifetimeTooLong "lifetime-too-long"
            "The token is valid for longer than the server accepts, or not at all."
            "For continuous access evaluation, with tokens of 28 hours, raise aadauth.max_token_lifetime."
    }
    Kind {
        TokenKindUnknown "token-kind-unknown"
            "The token is neither a delegated nor an app-only access token."
            "Ask for an access token; this may be an ID token."
        ClientIdMissing "client-id-missing"
            "The token does not say which application obtained it."
            "The token was not issued by Entra."
        UserTokenRequired "user-token-required"
            "The role belongs to a user, and the token to an application."
            "Map the role with type service, or sign in as the user."
        ServiceTokenRequired "service-token-required"
            "The role belongs to an application, and the token to a user."
            "Map the role with type user, or sign in as the application."
    }
    Principal {
        ObjectIdMissing "object-id-missing"
            "The token has no object id."
            "The token was not issued by Entra for an API."
        ObjectIdMismatch "object-id-mismatch"
            "The token's principal is not the one in the role's label."
            "Use the principal's own token. If the account was deleted and created again, call pgaadauth_update_principal_with_oid with the new object id. For an application, the role needs the object id of its service principal (az ad sp show), not that of the app registration."
        GroupsUnknown "groups-unknown"
            "The token does not name its principal's groups, and no directory is configured."
            "Let the server ask Microsoft Graph (aadauth.credential), or let the app registration emit the groups claim by Group ID (Token configuration, Add groups claim); with more than 200 groups, only those assigned to the application. If the principal is in no group, add it to the group in Entra, and get a new token."
        DirectoryUnavailable "directory-unavailable"
            "The directory could not say whether the principal is in the role's group."
            "The log says why: a credential, a permission or the network. Members confirmed within aadauth.group_cache_ttl can still sign in."
        DirectoryTimedOut "directory-timed-out"
            "The directory did not say in time whether the principal is in the role's group."
            "Retry; if it goes on, look at the network to Microsoft Graph, or raise aadauth.directory_timeout."
        DirectoryBusy "directory-busy"
            "Too many questions to the directory were waiting."
            "Retry; if it goes on, raise aadauth.group_cache_ttl: the directory is slow, or many members sign in at once."
        NotAGroupMember "not-a-group-member"
            "The principal is not a member of the role's group."
            "Add the principal to the group in Entra, and get a new token. If it is a member, let the app registration emit all security groups (Token configuration, Edit groups claim), or let the server ask Microsoft Graph (aadauth.credential)."
    }
    Mfa {
        MfaMissing "mfa-missing"
            "The role requires multi-factor authentication, which the token lacks."
            "Sign in to Entra again with a second factor, and get a new token."
        MfaUnprovable "mfa-unprovable"
            "The role requires multi-factor authentication, which a v2 token cannot prove."
            "Let the app registration issue v1 tokens (requestedAccessTokenVersion unset or 1)."
    }
    Revocation {
        Revoked "revoked"
            "The principal, or the group or application that it signs in as, is revoked."
            "See aadauth.revocations; aadauth.restore ends it."
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
    /// The client then gets one generic text, or learns that it has sent no token, and no claim of the
    /// token is shown or recorded. The reasons of [`Step::Connection`] are not meant: they say nothing
    /// about a token.
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
        assert_eq!(seen.len(), 62);
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
            let advice = reason.advice();
            assert!(
                advice.starts_with(|c: char| c.is_ascii_alphabetic()),
                "{advice}"
            );
            assert!(advice.ends_with('.') && !advice.contains("  "), "{advice}");
            // It reaches databases of any encoding.
            assert!(text.is_ascii() && advice.is_ascii(), "{advice}");
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
