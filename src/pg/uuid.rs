//! UUIDs as SQL has them.

use uuid::Uuid;

use super::query::Value;

pub fn sql_uuid(id: Uuid) -> pgrx::Uuid {
    pgrx::Uuid::from_bytes(id.into_bytes())
}

/// As an argument of a statement.
pub fn uuid_argument(id: Uuid) -> Value {
    Value::from(sql_uuid(id))
}
