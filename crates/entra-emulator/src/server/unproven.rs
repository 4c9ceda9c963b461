//! What can be wrong with a proof of identity, as Entra words it.

/// Why an application, a user or a code is not believed.
#[derive(Debug)]
pub(super) enum Unproven {
    AssertionTypeUnknown,
    AssertionMalformed(&'static str),
    AssertionOfAnother,
    AssertionSubject,
    AssertionAudience,
    AssertionTime,
    AssertionSignature(&'static str),
    NoCertificates,
    ForeignSignature,
    ForeignMismatch {
        what: &'static str,
        presented: String,
    },
    UserNotFound {
        name: String,
        tenant: String,
    },
    PasswordWrong,
    UserDisabled,
    RefreshTokenUnknown,
    DeviceCodeUnknown,
    DeviceCodePending,
    DeviceCodeTooOften,
    DeviceCodeDeclined,
    DeviceCodeExpired,
    DeviceCodeRedeemed,
    CodeUnknown,
    CodeExpired,
    CodeRedeemed,
    CodeOfAnotherTenant,
    CodeForAnotherUri {
        presented: String,
        asked: String,
    },
    VerifierMissing,
    VerifierWrong,
}

impl Unproven {
    /// As for [`Refusal`](super::error::Refusal).
    pub(super) fn parts(&self) -> (&'static str, Option<u32>, String) {
        let (error, code, text) = match self {
            Unproven::AssertionTypeUnknown => (
                "invalid_request",
                90023,
                "The 'client_assertion_type' must be that of JSON Web Tokens.".to_owned(),
            ),
            Unproven::AssertionMalformed(problem) => (
                "invalid_client",
                50027,
                format!("The client assertion is not valid: {problem}."),
            ),
            Unproven::AssertionOfAnother => (
                "invalid_client",
                700_021,
                "Client assertion application identifier does not match the 'client_id' parameter."
                    .to_owned(),
            ),
            Unproven::AssertionSubject => (
                "invalid_client",
                50048,
                "Subject mismatches issuer in the client assertion.".to_owned(),
            ),
            Unproven::AssertionAudience => (
                "invalid_client",
                700_023,
                "Client assertion audience claim is not the address of this endpoint.".to_owned(),
            ),
            Unproven::AssertionTime => (
                "invalid_client",
                700_024,
                "Client assertion is not within its valid time range.".to_owned(),
            ),
            Unproven::AssertionSignature(reason) => (
                "invalid_client",
                700_027,
                format!("Client assertion failed signature validation. [Reason - {reason}]"),
            ),
            Unproven::NoCertificates => (
                "invalid_client",
                700_026,
                "The application has no configured keys.".to_owned(),
            ),
            Unproven::ForeignSignature => (
                "invalid_client",
                50013,
                "Assertion failed signature validation: no issuer that the emulator plays signed \
                 it (entra-emulator federated-token)."
                    .to_owned(),
            ),
            Unproven::ForeignMismatch { what, presented } => (
                "invalid_client",
                match *what {
                    "issuer" => 700_211,
                    "audience" => 700_212,
                    _ => 700_213,
                },
                format!(
                    "No matching federated identity record found for presented assertion {what} \
                     '{presented}'."
                ),
            ),
            Unproven::UserNotFound { name, tenant } => (
                "invalid_grant",
                50034,
                format!("The user account {name} does not exist in the {tenant} directory."),
            ),
            Unproven::PasswordWrong => (
                "invalid_grant",
                50126,
                "Error validating credentials due to invalid username or password.".to_owned(),
            ),
            Unproven::UserDisabled => (
                "invalid_grant",
                50057,
                "The user account is disabled.".to_owned(),
            ),
            Unproven::RefreshTokenUnknown => (
                "invalid_grant",
                70000,
                "The refresh token is not valid, or belongs to another client.".to_owned(),
            ),
            Unproven::DeviceCodeUnknown => (
                "bad_verification_code",
                70018,
                "The device code is not valid, or belongs to another client.".to_owned(),
            ),
            Unproven::DeviceCodePending => (
                "authorization_pending",
                70016,
                "Authorization is pending. Continue polling.".to_owned(),
            ),
            Unproven::DeviceCodeExpired => (
                "expired_token",
                70019,
                "The verification code expired. Start again.".to_owned(),
            ),
            Unproven::DeviceCodeRedeemed => (
                "invalid_grant",
                54005,
                "The device code was already redeemed.".to_owned(),
            ),
            Unproven::CodeUnknown => (
                "invalid_grant",
                70000,
                "The authorization code is not valid, or belongs to another client.".to_owned(),
            ),
            Unproven::CodeExpired => (
                "invalid_grant",
                70008,
                "The provided authorization code or refresh token has expired. Send a new \
                 interactive authorization request."
                    .to_owned(),
            ),
            Unproven::CodeRedeemed => (
                "invalid_grant",
                54005,
                "OAuth2 Authorization code was already redeemed. Retry with a new valid code or \
                 use an existing refresh token."
                    .to_owned(),
            ),
            Unproven::CodeOfAnotherTenant => (
                "invalid_grant",
                700_005,
                "The authorization code must be redeemed at the tenant it was asked of, /common \
                 or /{tenant-ID}."
                    .to_owned(),
            ),
            Unproven::CodeForAnotherUri { presented, asked } => (
                "invalid_client",
                500_112,
                format!(
                    "The reply address '{presented}' does not match the reply address '{asked}' \
                     provided when requesting the authorization code."
                ),
            ),
            Unproven::VerifierMissing => (
                "invalid_grant",
                50148,
                "The code_verifier does not match the code_challenge supplied in the \
                 authorization request for PKCE."
                    .to_owned(),
            ),
            Unproven::VerifierWrong => (
                "invalid_grant",
                501_481,
                "The Code_Verifier does not match the code_challenge supplied in the \
                 authorization request."
                    .to_owned(),
            ),
            Unproven::DeviceCodeTooOften => {
                let text = "The client asks more often than the interval allows.";
                return ("slow_down", None, text.to_owned());
            }
            Unproven::DeviceCodeDeclined => {
                let text = "The user declined to authorize the client.";
                return ("authorization_declined", None, text.to_owned());
            }
        };
        (error, Some(code), text)
    }
}
