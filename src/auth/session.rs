//! The entry of an accepted sign-in in the table of live sessions.

use entra_token::{Mapping, PrincipalKind, RevocableIds};

use super::verdict::{Accepted, Verdict};
use crate::pg::connection::Connection;
use crate::shared::bytes::Bytes;
use crate::shared::sessions::table::Session;
use crate::text::SanitizedText;
use crate::{clock, sessions};

/// Ends the sessions that were opened when the role's name meant another role, or the role another principal than this
/// verdict accepts: a pooler would give one of them to its client. Returns whether there are any.
pub fn end_outdated(verdict: &Verdict, connection: &Connection) -> bool {
    let (Ok(accepted), Some(role)) = (&verdict.outcome, &verdict.role) else {
        return false;
    };
    let (name, oid) = (Bytes::cut(&connection.role), role.oid.to_u32());
    let principal = verdict.accepted_object_id();
    sessions::end_outdated(|session| {
        let is_of_principal = match accepted {
            // Members of the group may have sessions of their own, which are nobody's to share.
            Accepted::Token(mapping) if mapping.kind == PrincipalKind::Group => {
                session.group_id == Some(mapping.object_id)
            }
            Accepted::Token(_) => {
                session.group_id.is_none() && Some(session.object_id) == principal
            }
            // It is a local role now.
            Accepted::Password => false,
        };
        session.role == name && !(session.role_oid == oid && is_of_principal)
    })
}

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
        role_oid: verdict.role.as_ref()?.oid.to_u32(),
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
