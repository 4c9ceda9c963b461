//! What Entra means when it refuses to give a token.

use entra_api::ErrorKind;
use serde::Deserialize;

use crate::failure::{Failure, shown_code};
use crate::http::Response;

/// An error of OAuth 2.0 (RFC 6749 section 5.2), as Entra sends it.
/// <https://learn.microsoft.com/entra/identity-platform/reference-error-codes>
#[derive(Deserialize, Default)]
struct Answer {
    #[serde(default)]
    error: String,
    #[serde(default)]
    error_description: String,
}

/// The error code of a token endpoint's answer, if it is one.
pub(crate) fn error_code(response: &Response) -> Option<String> {
    let answer: Answer = serde_json::from_slice(&response.body).ok()?;
    shown_code(&answer.error).map(str::to_owned)
}

/// The refusal of a token endpoint of `what`, such as "credential". Of its text only the number of the error
/// is taken.
pub(crate) fn refusal(issuer: &str, what: &str, response: &Response) -> Failure {
    if let Some(failure) = Failure::busy(issuer, response) {
        return failure;
    }
    let answer: Answer = serde_json::from_slice(&response.body).unwrap_or_default();
    let Some(error) = shown_code(&answer.error) else {
        let problem = format!(
            "is neither a token nor a refusal (status {})",
            response.status
        );
        return Failure::malformed(issuer, &problem);
    };
    let message = match number(&answer.error_description) {
        Some(number) => match meaning(number) {
            Some(meaning) => {
                format!("{issuer} refuses the {what}: AADSTS{number} ({meaning})")
            }
            None => format!("{issuer} refuses the {what}: AADSTS{number} ({error})"),
        },
        None => format!("{issuer} refuses the {what}: {error}"),
    };
    Failure::new(ErrorKind::CredentialRefused, message)
}

/// The refusal of a managed identity endpoint.
/// <https://learn.microsoft.com/entra/identity/managed-identities-azure-resources/how-to-use-vm-token#error-handling>
pub(crate) fn machine_refusal(issuer: &str, response: &Response) -> Failure {
    if let Some(failure) = Failure::busy(issuer, response) {
        return failure;
    }
    let status = response.status;
    // While the endpoint is updated, or the identity is being set up.
    if matches!(status, 404 | 410) {
        let message = format!("{issuer} answered with status {status}");
        return Failure::passing(ErrorKind::Unreachable, message, None);
    }
    let answer: Answer = serde_json::from_slice(&response.body).unwrap_or_default();
    let message = match shown_code(&answer.error) {
        Some(error) => format!("{issuer} gives no token: status {status} ({error})"),
        None => format!("{issuer} gives no token: status {status}"),
    };
    Failure::new(ErrorKind::CredentialRefused, message)
}

/// The number in a text that begins `AADSTS50034: …`.
fn number(description: &str) -> Option<u32> {
    let rest = description.strip_prefix("AADSTS")?;
    let end = rest.find(|character: char| !character.is_ascii_digit());
    rest.get(..end.unwrap_or(rest.len()))?.parse().ok()
}

/// What an administrator can do something about.
fn meaning(number: u32) -> Option<&'static str> {
    Some(match number {
        90_002 | 900_023 => "there is no such tenant",
        700_016 => "the tenant has no application with this client id",
        7_000_229 => "the application has no service principal in the tenant",
        7_000_112 => "the application is disabled",
        7_000_215 => "the client secret is wrong",
        7_000_222 => "the client secret has expired",
        700_027 => "the certificate is not registered for the application, or has expired",
        700_024 => "the assertion is not valid now: check this machine's clock",
        50_173 | 70_008 | 700_082 => "the sign-in has expired or was revoked",
        65_001 => "the user or an administrator has not consented to the application",
        500_011 => "the tenant has no application with this audience",
        70_021 | 700_211 | 700_212 | 700_213 => {
            "no federated credential of the application matches the token's issuer, subject and audience"
        }
        53_003 => "a Conditional Access policy blocks the sign-in",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(status: u16, body: &str) -> Response {
        Response {
            status,
            body: body.as_bytes().to_vec().into(),
            date: None,
            retry_after: None,
        }
    }

    #[test]
    fn a_refusal_is_named_by_its_number() {
        for (status, body, kind, expected) in [
            (
                401,
                r#"{"error":"invalid_client","error_description":"AADSTS7000215: Invalid client secret provided s3cret. Trace ID: x"}"#,
                ErrorKind::CredentialRefused,
                "Entra refuses the credential: AADSTS7000215 (the client secret is wrong)",
            ),
            (
                400,
                r#"{"error":"unauthorized_client","error_description":"AADSTS12345: s3cret"}"#,
                ErrorKind::CredentialRefused,
                "Entra refuses the credential: AADSTS12345 (unauthorized_client)",
            ),
            (
                400,
                r#"{"error":"invalid_request","error_description":"AADSTSs3cret"}"#,
                ErrorKind::CredentialRefused,
                "Entra refuses the credential: invalid_request",
            ),
            (
                400,
                r#"{"error":"s3cret and more"}"#,
                ErrorKind::BadAnswer,
                "Entra sent an answer that is neither a token nor a refusal (status 400)",
            ),
            (
                302,
                "<html>s3cret",
                ErrorKind::BadAnswer,
                "Entra sent an answer that is neither a token nor a refusal (status 302)",
            ),
            (
                503,
                "s3cret",
                ErrorKind::Unreachable,
                "Entra answered with status 503",
            ),
            (
                429,
                "{}",
                ErrorKind::Throttled,
                "Entra answered with status 429",
            ),
        ] {
            let failure = refusal("Entra", "credential", &response(status, body));
            assert_eq!(failure.error.kind, kind, "{body}");
            assert_eq!(failure.error.message, expected);
        }
    }
}
