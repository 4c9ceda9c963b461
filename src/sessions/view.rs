//! `aadauth.sessions` and `aadauth.current_principal`.

use pgrx::prelude::*;

use crate::clock;
use crate::pg::name::Name;
use crate::pg::privileges;
use crate::pg::text::SqlText;
use crate::pg::uuid::sql_uuid;
use crate::shared::sessions::table::Session;
use crate::shared::shmem;
use crate::text::SanitizedText;

/// The roles that see all sessions, in addition to superusers.
const ROLES_THAT_SEE_ALL: [&str; 2] = ["pg_read_all_stats", "aadauth_auditor"];

/// The sessions that were opened with tokens: all of them, or those of the caller's own principal.
#[allow(clippy::type_complexity, reason = "pgrx must see the columns here")]
#[pg_extern(schema = "aadauth", volatile, parallel_restricted)]
pub(super) fn sessions() -> TableIterator<
    'static,
    (
        name!(pid, i32),
        name!(role, Name),
        name!(principal, SqlText),
        name!(principal_type, SqlText),
        name!(object_id, pgrx::Uuid),
        name!(group_id, Option<pgrx::Uuid>),
        name!(database, Option<Name>),
        name!(client, SqlText),
        name!(signed_in_at, Option<TimestampWithTimeZone>),
        name!(token_expires_at, Option<TimestampWithTimeZone>),
        name!(application, Option<SqlText>),
        name!(pooler, Option<Name>),
    ),
> {
    let is_shown: Box<dyn Fn(&Session) -> bool> = match (sees_all(), super::own_principal()) {
        (true, _) => Box::new(|_| true),
        (false, Some(own)) => Box::new(move |session| session.object_id == own.object_id),
        (false, None) => Box::new(|_| false),
    };
    let shown: Vec<Session> = shmem::sessions(|places| {
        let sessions = places.iter().filter_map(|place| place.0);
        sessions.filter(|session| is_shown(session)).collect()
    });
    TableIterator::new(shown.into_iter().map(|session| {
        (
            session.pid,
            Name(session.role.as_str().to_owned()),
            session.principal().into(),
            session.kind.word().into(),
            sql_uuid(session.object_id),
            session.group_id.map(sql_uuid),
            given(session.database.as_str()).map(Name),
            session.client.as_str().into(),
            clock::timestamp(session.signed_in_at),
            expires_at(&session),
            given(session.application.as_str())
                .map(|text| SanitizedText::from(text).to_string().into()),
            given(session.pooler.as_str()).map(Name),
        )
    }))
}

/// The principal that signed in to this session, as it was then; no row if no token was used, or if a pooler's
/// client may be somebody else.
#[allow(clippy::type_complexity, reason = "pgrx must see the columns here")]
#[pg_extern(schema = "aadauth", stable, parallel_restricted)]
pub(super) fn own_principal() -> TableIterator<
    'static,
    (
        name!(principal_type, SqlText),
        name!(object_id, pgrx::Uuid),
        name!(tenant_id, pgrx::Uuid),
        name!(principal, SqlText),
        name!(app_id, Option<pgrx::Uuid>),
        name!(role, Name),
        name!(group_id, Option<pgrx::Uuid>),
        name!(token_id, Option<SqlText>),
        name!(signed_in_at, Option<TimestampWithTimeZone>),
        name!(token_expires_at, Option<TimestampWithTimeZone>),
    ),
> {
    let own = super::own_principal();
    TableIterator::new(own.into_iter().map(|session| {
        (
            session.kind.word().into(),
            sql_uuid(session.object_id),
            sql_uuid(session.tenant_id),
            session.principal().into(),
            session.app_id.map(sql_uuid),
            Name(session.role.as_str().to_owned()),
            session.group_id.map(sql_uuid),
            given(session.token_id.as_str()).map(SqlText),
            clock::timestamp(session.signed_in_at),
            expires_at(&session),
        )
    }))
}

fn sees_all() -> bool {
    let current = privileges::current_user();
    privileges::is_superuser(current)
        || ROLES_THAT_SEE_ALL
            .into_iter()
            .filter_map(privileges::role_named)
            .any(|role| privileges::has_privileges_of(current, role))
}

fn given(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

fn expires_at(session: &Session) -> Option<TimestampWithTimeZone> {
    clock::timestamp(session.expires_at.saturating_mul(1_000_000))
}
