//! The entry of an accepted sign-in in the table of live sessions.

use entra_token::{Mapping, PrincipalKind, RevocableIds};

use super::verdict::Verdict;
use crate::clock;
use crate::pg::connection::Connection;
use crate::shared::bytes::Bytes;
use crate::shared::sessions::table::Session;
use crate::text::SanitizedText;

/// `None` if the verdict has no principal.
pub fn from_verdict(
    verdict: &Verdict,
    mapping: &Mapping,
    connection: &Connection,
) -> Option<Session> {
    let identity = verdict.identity.as_ref()?;
    let principal = identity.principal.as_ref()?;
    let is_application = principal.kind == PrincipalKind::Service;
    let application_id = principal.app_id.filter(|_| is_application);
    Some(Session {
        pid: std::process::id().cast_signed(),
        role: Bytes::cut(&connection.role),
        kind: principal.kind,
        object_id: principal.object_id,
        tenant_id: principal.tenant_id,
        app_id: principal.app_id,
        group_id: (mapping.kind == PrincipalKind::Group).then_some(mapping.object_id),
        ids: RevocableIds::new(mapping, principal.object_id, application_id),
        upn: text(principal.upn.as_ref()),
        display_name: text(principal.display_name.as_ref()),
        token_id: text(identity.token.token_id.as_ref()),
        database: connection
            .database
            .as_deref()
            .map_or(Bytes::EMPTY, Bytes::cut),
        client: match &connection.client_address {
            Some(address) if !connection.local_socket => Bytes::cut(address),
            _ => Bytes::cut("local"),
        },
        pooler: verdict.pooler.as_deref().map_or(Bytes::EMPTY, Bytes::cut),
        application: connection
            .application_name
            .as_deref()
            .map_or(Bytes::EMPTY, Bytes::cut),
        signed_in_at: clock::micros(),
        expires_at: identity.token.expires_at?,
    })
}

fn text<const N: usize>(text: Option<&SanitizedText>) -> Bytes<N> {
    text.map_or(Bytes::EMPTY, |text| Bytes::cut(&text.to_string()))
}
