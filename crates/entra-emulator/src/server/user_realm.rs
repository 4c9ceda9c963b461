//! User realm discovery: whether a user's password is for Entra, or for another provider that Entra asks.
//! Here all of them are for Entra. Microsoft's libraries ask before they send a password.

use axum::Json;
use axum::extract::{Path, State};
use serde_json::{Value, json};

use super::emulator::Shared;

pub(super) async fn user_realm(
    State(emulator): State<Shared>,
    Path((_, user)): Path<(String, String)>,
) -> Json<Value> {
    let domain = user.rsplit_once('@').map_or("", |(_, domain)| domain);
    let cloud = emulator.authority.host();
    Json(match emulator.directory().tenant(domain) {
        Some(_) => json!({
            "ver": "1.0",
            "account_type": "Managed",
            "domain_name": domain,
            "cloud_instance_name": cloud,
            "cloud_audience_urn": "urn:federation:MicrosoftOnline",
        }),
        None => json!({
            "ver": "1.0",
            "account_type": "Unknown",
            "cloud_instance_name": cloud,
        }),
    })
}
