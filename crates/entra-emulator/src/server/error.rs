//! Errors as Entra words them: an OAuth error with the code that administrators search for.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;
use time::OffsetDateTime;
use uuid::Uuid;

use super::authorize::Objection;
use super::unproven::Unproven;

/// What Entra would object to. Microsoft's reference of authentication error codes lists these.
#[derive(Debug)]
pub(super) enum Refusal {
    TenantNotFound(String),
    TenantMissing,
    ParameterMissing(&'static str),
    UnsupportedGrant(String),
    ApplicationNotFound {
        client_id: String,
        tenant: String,
    },
    SecretMissing,
    SecretWrong {
        client_id: String,
    },
    ScopeNotDefault(String),
    ScopeOfSeveralResources(String),
    ResourceNotFound {
        resource: String,
        tenant: String,
    },
    /// A client that must prove itself and doesn't, in a user's grant.
    CredentialMissing,
    PublicClientWithCredential,
    /// A client's proof of its identity is wrong.
    Unproven(Unproven),
    /// A browser is sent with a request for which no user can sign in.
    Authorization(Objection),
    /// The emulator itself failed; no code of Entra's.
    Internal(String),
}

impl Refusal {
    /// OAuth's name of the error, Entra's code for it (none where Microsoft documents none), and
    /// what it says to people.
    fn parts(&self) -> (&'static str, Option<u32>, String) {
        let (error, code, text) = match self {
            Refusal::TenantNotFound(tenant) => (
                "invalid_tenant",
                90002,
                format!("Tenant '{tenant}' not found. Check the tenant ID and the cloud."),
            ),
            Refusal::TenantMissing => (
                "invalid_request",
                50059,
                "The request names no tenant, and the credentials imply none.".to_owned(),
            ),
            Refusal::ParameterMissing(name) => (
                "invalid_request",
                900_144,
                format!("The request body must contain the parameter '{name}'."),
            ),
            Refusal::UnsupportedGrant(grant) => (
                "unsupported_grant_type",
                70003,
                format!("The grant type '{grant}' is not supported."),
            ),
            Refusal::ApplicationNotFound { client_id, tenant } => (
                "unauthorized_client",
                700_016,
                format!(
                    "Application with identifier '{client_id}' was not found in the directory \
                     '{tenant}'."
                ),
            ),
            Refusal::SecretMissing => (
                "invalid_client",
                7_000_216,
                "The 'client_credentials' grant needs a 'client_secret' or 'client_assertion'."
                    .to_owned(),
            ),
            Refusal::SecretWrong { client_id } => (
                "invalid_client",
                7_000_215,
                format!(
                    "Invalid client secret provided for app '{client_id}'. Send the secret's \
                     value, not its ID."
                ),
            ),
            Refusal::ScopeNotDefault(scope) => (
                "invalid_scope",
                1_002_012,
                format!(
                    "The scope '{scope}' is not valid: client credentials need a resource with \
                     the suffix /.default."
                ),
            ),
            Refusal::ScopeOfSeveralResources(scope) => (
                "invalid_scope",
                28000,
                format!("The scope '{scope}' is not valid: it names more than one resource."),
            ),
            Refusal::ResourceNotFound { resource, tenant } => (
                "invalid_resource",
                500_011,
                format!(
                    "The resource principal named {resource} was not found in the tenant named \
                     {tenant}."
                ),
            ),
            Refusal::CredentialMissing => (
                "invalid_client",
                7_000_218,
                "The request body must contain 'client_assertion' or 'client_secret': the \
                 application is no public client."
                    .to_owned(),
            ),
            Refusal::PublicClientWithCredential => (
                "invalid_client",
                700_025,
                "Client is public so neither 'client_assertion' nor 'client_secret' should be \
                 presented."
                    .to_owned(),
            ),
            Refusal::Unproven(unproven) => return unproven.parts(),
            Refusal::Authorization(objection) => objection.parts(),
            Refusal::Internal(problem) => ("server_error", 90033, problem.clone()),
        };
        (error, Some(code), text)
    }

    /// OAuth's name of the error, Entra's code, and the text with the code in it.
    pub(super) fn told(&self) -> (&'static str, Option<u32>, String) {
        let (error, code, text) = self.parts();
        let text = match code {
            Some(code) => format!("AADSTS{code}: {text}"),
            None => text,
        };
        (error, code, text)
    }
}

impl From<Unproven> for Refusal {
    fn from(unproven: Unproven) -> Refusal {
        Refusal::Unproven(unproven)
    }
}

impl From<Objection> for Refusal {
    fn from(objection: Objection) -> Refusal {
        Refusal::Authorization(objection)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (error, code, text) = self.told();
        let status = match error {
            "invalid_client" => StatusCode::UNAUTHORIZED,
            "server_error" => StatusCode::INTERNAL_SERVER_ERROR,
            _ => StatusCode::BAD_REQUEST,
        };
        let (trace, correlation) = (Uuid::new_v4(), Uuid::new_v4());
        let timestamp = timestamp(OffsetDateTime::now_utc());
        let body = json!({
            "error": error,
            "error_description": format!(
                "{text} Trace ID: {trace} Correlation ID: {correlation} Timestamp: {timestamp}"
            ),
            "error_codes": code.into_iter().collect::<Vec<u32>>(),
            "timestamp": timestamp,
            "trace_id": trace,
            "correlation_id": correlation,
        });
        (status, Json(body)).into_response()
    }
}

/// `2026-01-31 12:34:56Z`, as Entra writes times for people.
fn timestamp(at: OffsetDateTime) -> String {
    format!(
        "{:04}-{:02}-{:02} {:02}:{:02}:{:02}Z",
        at.year(),
        u8::from(at.month()),
        at.day(),
        at.hour(),
        at.minute(),
        at.second()
    )
}
