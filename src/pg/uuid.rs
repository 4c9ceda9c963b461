//! UUIDs as SQL has them.

use pgrx::datum::DatumWithOid;
use uuid::Uuid;

pub fn sql_uuid(id: Uuid) -> pgrx::Uuid {
    pgrx::Uuid::from_bytes(id.into_bytes())
}

/// As an argument of a statement.
pub fn uuid_argument(id: Uuid) -> DatumWithOid<'static> {
    DatumWithOid::from(sql_uuid(id))
}
