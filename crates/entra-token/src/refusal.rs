//! What a refused client is told.

use crate::reason::Reason;

/// The primary message of the FATAL error that a refused client receives.
///
/// `role` is the role name of the startup packet. `audience` is the resource that a client should
/// have asked a token for (the first configured audience), where there is one.
///
/// Where Azure Database for PostgreSQL has a text that names no one else's ids, it is that text, so
/// that people find the advice that exists for it. Until the signature is verified there is one
/// text for everything but what is no token at all, so that a stranger does not learn from it how far
/// a forged token got.
pub fn client_text(reason: Reason, role: &str, audience: Option<&str>) -> String {
    if reason == Reason::TokenMalformed {
        return "The access token has invalid format. Please ensure the token is passed exactly as \
                returned by the authentication endpoint and retry."
            .to_owned();
    }
    // By OAUTHBEARER, a name that no role has must read like a mapped role's.
    if reason.before_signature() || reason == Reason::RoleNotMapped {
        return "An error occurred while validating the access token. \
                Please acquire a new token and retry"
            .to_owned();
    }
    match reason {
        Reason::PasswordFailed | Reason::PasswordDisabled => {
            format!("password authentication failed for user \"{role}\"")
        }
        Reason::TlsRequired => format!(
            "role \"{role}\" signs in with an access token, which is accepted over an encrypted \
             connection only: use sslmode=verify-full"
        ),
        Reason::IssuerMismatch | Reason::VersionMismatch | Reason::TenantMismatch => {
            "The access token was not issued by the Microsoft Entra tenant of this server. \
             Please acquire a new token from that tenant and retry"
                .to_owned()
        }
        Reason::AudienceMismatch => match audience {
            Some(audience) => format!(
                "The access token doesn't have a valid audience claim. \
                 Acquire a new token for resource \"{audience}\""
            ),
            None => "The access token doesn't have a valid audience claim. \
                     Acquire a new token for this server"
                .to_owned(),
        },
        Reason::TimeClaimsMissing => {
            "The access token doesn't have valid exp, nbf and iat claims. \
                                      Acquire a new token and try again"
                .to_owned()
        }
        Reason::Expired => {
            "The access token has expired. Acquire a new token and try again.".to_owned()
        }
        Reason::NotYetValid | Reason::IssuedInFuture => {
            "The access token is not valid yet by this server's clock. Please retry in a while"
                .to_owned()
        }
        Reason::LifetimeTooLong => {
            "The access token is valid for longer than this server accepts".to_owned()
        }
        Reason::TokenKindUnknown => format!(
            "The token for role \"{role}\" is neither a user's nor an application's access token. \
             Please acquire an access token and retry"
        ),
        Reason::ClientIdMissing => "The access token doesn't have a valid appid or azp claim. \
             Acquire a new token and try again"
            .to_owned(),
        Reason::UserTokenRequired => format!(
            "Microsoft Entra user token for role \"{role}\" is neither an \
             AAD_AUTH_TOKENTYPE_APP_USER or an AAD_AUTH_TOKENTYPE_APP_OBO token."
        ),
        Reason::ServiceTokenRequired => format!(
            "Service principals cannot generate AAD_AUTH_TOKENTYPE_APP_USER tokens \
             for role \"{role}\""
        ),
        Reason::ObjectIdMissing => {
            "The access token doesn't have a valid oid claim. Acquire a new token and try again"
                .to_owned()
        }
        Reason::ObjectIdMismatch => format!(
            "The access token belongs to another principal than the one that role \"{role}\" \
             is mapped to"
        ),
        Reason::GroupsUnknown => format!(
            "The access token does not say whether its principal is a member of the group that \
             role \"{role}\" is mapped to"
        ),
        Reason::DirectoryUnavailable | Reason::DirectoryTimedOut | Reason::DirectoryBusy => {
            format!(
                "The server could not find out whether the principal of the access token is a \
                 member of the group that role \"{role}\" is mapped to. Please retry in a while"
            )
        }
        Reason::NotAGroupMember => format!(
            "The principal of the access token is not a member of the group that role \"{role}\" \
             is mapped to"
        ),
        Reason::MfaMissing => format!(
            "Role \"{role}\" requires multi-factor authentication, and the access token was \
             acquired without it. Please sign in again with multi-factor authentication and retry"
        ),
        Reason::MfaUnprovable => format!(
            "Role \"{role}\" requires multi-factor authentication, which an access token of \
             version 2.0 cannot prove. Please acquire a token of version 1.0 and retry"
        ),
        Reason::Revoked => {
            format!("The access of this principal or access token to role \"{role}\" was revoked")
        }
        // Settings, labels and pg_hba.conf are no business of someone who is not yet in.
        _ => format!("Microsoft Entra authentication failed for role \"{role}\""),
    }
}

/// The SQLSTATE that belongs to [`client_text`].
///
/// `28P01` (invalid password) where the client had to show a password, as PostgreSQL's
/// `auth_failed` in `src/backend/libpq/auth.c` does it; `28000` (invalid authorization
/// specification) for everything else, as on Azure.
pub const fn sqlstate(reason: Reason) -> &'static str {
    match reason {
        Reason::PasswordFailed | Reason::PasswordDisabled => "28P01",
        _ => "28000",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reason::Step;

    const OURS: &str = "https://ossrdbms-aad.database.windows.net";

    /// The texts that Azure's users search for, letter by letter.
    #[test]
    fn texts_of_azure_are_kept() {
        for (reason, text) in [
            (
                Reason::Expired,
                "The access token has expired. Acquire a new token and try again.",
            ),
            (
                Reason::AudienceMismatch,
                "The access token doesn't have a valid audience claim. Acquire a new token for \
                 resource \"https://ossrdbms-aad.database.windows.net\"",
            ),
            (
                Reason::TokenMalformed,
                "The access token has invalid format. Please ensure the token is passed exactly \
                 as returned by the authentication endpoint and retry.",
            ),
            (
                Reason::UserTokenRequired,
                "Microsoft Entra user token for role \"r\" is neither an \
                 AAD_AUTH_TOKENTYPE_APP_USER or an AAD_AUTH_TOKENTYPE_APP_OBO token.",
            ),
            (
                Reason::ServiceTokenRequired,
                "Service principals cannot generate AAD_AUTH_TOKENTYPE_APP_USER tokens for \
                 role \"r\"",
            ),
            (
                Reason::ObjectIdMissing,
                "The access token doesn't have a valid oid claim. Acquire a new token and try \
                 again",
            ),
            (
                Reason::SignatureInvalid,
                "An error occurred while validating the access token. Please acquire a new \
                 token and retry",
            ),
            (
                Reason::PasswordFailed,
                "password authentication failed for user \"r\"",
            ),
            (
                Reason::LabelConflict,
                "Microsoft Entra authentication failed for role \"r\"",
            ),
        ] {
            assert_eq!(client_text(reason, "r", Some(OURS)), text);
        }
    }

    #[test]
    fn only_what_is_no_token_is_told_apart_before_the_signature() {
        let generic = client_text(Reason::SignatureInvalid, "r", Some(OURS));
        assert!(!generic.contains('"'));
        for reason in Reason::ALL.iter().copied() {
            let same = client_text(reason, "r", Some(OURS)) == generic;
            let is_generic = (reason.before_signature() && reason != Reason::TokenMalformed)
                || reason == Reason::RoleNotMapped;
            assert_eq!(same, is_generic, "{reason}");
        }
    }

    #[test]
    fn configuration_is_told_apart_to_no_client() {
        for reason in Reason::ALL
            .iter()
            .copied()
            .filter(|r| r.step() == Step::Connection && *r != Reason::RoleNotMapped)
        {
            let text = client_text(reason, "r", None);
            let expected = match reason {
                Reason::TlsRequired => {
                    assert!(text.contains("sslmode=verify-full"));
                    continue;
                }
                Reason::PasswordFailed | Reason::PasswordDisabled => {
                    "password authentication failed for user \"r\""
                }
                _ => "Microsoft Entra authentication failed for role \"r\"",
            };
            assert_eq!(text, expected, "{reason}");
        }
    }

    #[test]
    fn every_reason_after_the_signature_has_a_text_of_its_own() {
        for reason in Reason::ALL
            .iter()
            .copied()
            .filter(|r| r.step() >= Step::Issuer)
        {
            let text = client_text(reason, "r", Some(OURS));
            assert!(
                !text.starts_with("Microsoft Entra authentication failed"),
                "{reason}"
            );
            assert!(!text.contains("  "), "{text}");
        }
        assert!(!client_text(Reason::AudienceMismatch, "r", None).contains("None"));
    }

    #[test]
    fn only_passwords_fail_with_28p01() {
        for reason in Reason::ALL.iter().copied() {
            let password = matches!(reason, Reason::PasswordFailed | Reason::PasswordDisabled);
            assert_eq!(
                sqlstate(reason),
                if password { "28P01" } else { "28000" },
                "{reason}"
            );
        }
    }
}
