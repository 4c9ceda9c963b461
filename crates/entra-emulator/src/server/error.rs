//! Errors as Entra words them: an OAuth error with the code that administrators search for.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;
use time::OffsetDateTime;
use uuid::Uuid;

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
    ResourceNotFound {
        resource: String,
        tenant: String,
    },
    /// The emulator itself failed; no code of Entra's.
    Internal(String),
}

impl Refusal {
    fn parts(&self) -> (StatusCode, &'static str, u32, String) {
        use StatusCode as Status;
        match self {
            Refusal::TenantNotFound(tenant) => (
                Status::BAD_REQUEST,
                "invalid_tenant",
                90002,
                format!("Tenant '{tenant}' not found. Check the tenant ID and the cloud."),
            ),
            Refusal::TenantMissing => (
                Status::BAD_REQUEST,
                "invalid_request",
                50059,
                "The request names no tenant, and the credentials imply none.".to_owned(),
            ),
            Refusal::ParameterMissing(name) => (
                Status::BAD_REQUEST,
                "invalid_request",
                900_144,
                format!("The request body must contain the parameter '{name}'."),
            ),
            Refusal::UnsupportedGrant(grant) => (
                Status::BAD_REQUEST,
                "unsupported_grant_type",
                70003,
                format!("The grant type '{grant}' is not supported."),
            ),
            Refusal::ApplicationNotFound { client_id, tenant } => (
                Status::BAD_REQUEST,
                "unauthorized_client",
                700_016,
                format!(
                    "Application with identifier '{client_id}' was not found in the directory \
                     '{tenant}'."
                ),
            ),
            Refusal::SecretMissing => (
                Status::UNAUTHORIZED,
                "invalid_client",
                7_000_216,
                "The 'client_credentials' grant needs a 'client_secret' or 'client_assertion'."
                    .to_owned(),
            ),
            Refusal::SecretWrong { client_id } => (
                Status::UNAUTHORIZED,
                "invalid_client",
                7_000_215,
                format!(
                    "Invalid client secret provided for app '{client_id}'. Send the secret's \
                     value, not its ID."
                ),
            ),
            Refusal::ScopeNotDefault(scope) => (
                Status::BAD_REQUEST,
                "invalid_scope",
                1_002_012,
                format!(
                    "The scope '{scope}' is not valid: client credentials need a resource with \
                     the suffix /.default."
                ),
            ),
            Refusal::ResourceNotFound { resource, tenant } => (
                Status::BAD_REQUEST,
                "invalid_resource",
                500_011,
                format!(
                    "The resource principal named {resource} was not found in the tenant named \
                     {tenant}."
                ),
            ),
            Refusal::Internal(problem) => (
                Status::INTERNAL_SERVER_ERROR,
                "server_error",
                90033,
                problem.clone(),
            ),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, error, code, text) = self.parts();
        let (trace, correlation) = (Uuid::new_v4(), Uuid::new_v4());
        let timestamp = timestamp(OffsetDateTime::now_utc());
        let body = json!({
            "error": error,
            "error_description": format!(
                "AADSTS{code}: {text} Trace ID: {trace} Correlation ID: {correlation} \
                 Timestamp: {timestamp}"
            ),
            "error_codes": [code],
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
