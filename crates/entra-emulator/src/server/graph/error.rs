//! Errors as Graph words them. Microsoft: "Microsoft Graph error responses and resource types".

use axum::http::StatusCode;
use serde_json::{Value, json};
use time::OffsetDateTime;
use uuid::Uuid;

/// A status, Graph's code for it, and what it says to people.
#[derive(Debug)]
pub(super) struct GraphError {
    pub status: StatusCode,
    code: &'static str,
    message: String,
}

impl GraphError {
    /// The bearer token is missing or not for Graph.
    pub(super) fn unauthenticated(message: &str) -> GraphError {
        GraphError {
            status: StatusCode::UNAUTHORIZED,
            code: "InvalidAuthenticationToken",
            message: message.to_owned(),
        }
    }

    /// The token is good, and its permissions don't reach.
    pub(super) fn denied() -> GraphError {
        GraphError {
            status: StatusCode::FORBIDDEN,
            code: "Authorization_RequestDenied",
            message: "Insufficient privileges to complete the operation.".to_owned(),
        }
    }

    pub(super) fn not_found(name: &str) -> GraphError {
        GraphError {
            status: StatusCode::NOT_FOUND,
            code: "Request_ResourceNotFound",
            message: format!(
                "Resource '{name}' does not exist or one of its queried reference-property objects \
                 are not present."
            ),
        }
    }

    /// The directory behind Graph can't do what was asked.
    pub(super) fn bad_request(message: impl Into<String>) -> GraphError {
        GraphError {
            status: StatusCode::BAD_REQUEST,
            code: "Request_BadRequest",
            message: message.into(),
        }
    }

    /// It could, for those who ask for an advanced query.
    pub(super) fn unsupported_query(message: impl Into<String>) -> GraphError {
        GraphError {
            status: StatusCode::BAD_REQUEST,
            code: "Request_UnsupportedQuery",
            message: message.into(),
        }
    }

    /// Graph itself doesn't understand the request.
    pub(super) fn malformed(message: impl Into<String>) -> GraphError {
        GraphError {
            status: StatusCode::BAD_REQUEST,
            code: "BadRequest",
            message: message.into(),
        }
    }

    pub(super) fn body(&self, request: Uuid, client_request: &str) -> Value {
        let now = OffsetDateTime::now_utc();
        let date = format!(
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}",
            now.year(),
            u8::from(now.month()),
            now.day(),
            now.hour(),
            now.minute(),
            now.second()
        );
        json!({
            "error": {
                "code": self.code,
                "message": self.message,
                "innerError": {
                    "date": date,
                    "request-id": request,
                    "client-request-id": client_request,
                },
            },
        })
    }
}
