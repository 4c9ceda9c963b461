//! Statements, with their text in the database's encoding.
//!
//! Those that only read work on a standby as well: pgrx's `Spi::get_one` and its like begin to write, since they assign a
//! transaction id (pgrx, `SpiClient::update`).

use std::ffi::{CString, c_long};
use std::panic::AssertUnwindSafe;

use pgrx::datum::DatumWithOid;
use pgrx::pg_sys::panic::CaughtError;
use pgrx::prelude::*;
use pgrx::spi::{SpiClient, SpiTupleTable};

use super::json::Json;
use super::log;
use super::text::{self, SqlText};

/// An argument of a statement. Text is [`SqlText`].
pub struct Value(DatumWithOid<'static>);

macro_rules! values {
    ($($type:ty)+) => {
        $(
            impl From<$type> for Value {
                fn from(value: $type) -> Value {
                    Value(DatumWithOid::from(value))
                }
            }

            impl From<Option<$type>> for Value {
                fn from(value: Option<$type>) -> Value {
                    Value(DatumWithOid::from(value))
                }
            }
        )+
    };
}

values! { SqlText Json bool i32 i64 f64 pg_sys::Oid pgrx::Uuid TimestampWithTimeZone }
values! { Vec<SqlText> Vec<pg_sys::Oid> Vec<pgrx::Uuid> }

/// Runs a statement that only reads.
///
/// # Errors
/// PostgreSQL cannot run it, unless it raises an ERROR.
#[expect(clippy::disallowed_methods, reason = "its text is converted here")]
pub fn select<'conn>(
    client: &SpiClient<'conn>,
    statement: &str,
    limit: Option<c_long>,
    values: &[Value],
) -> spi::Result<SpiTupleTable<'conn>> {
    let (statement, values) = (encoded(statement), datums(values));
    converting_errors(|| client.select(&statement, limit, &values))
}

/// Runs a statement that may write.
///
/// # Errors
/// As [`select`].
#[expect(clippy::disallowed_methods, reason = "its text is converted here")]
pub fn update<'conn>(
    client: &mut SpiClient<'conn>,
    statement: &str,
    limit: Option<c_long>,
    values: &[Value],
) -> spi::Result<SpiTupleTable<'conn>> {
    let (statement, values) = (encoded(statement), datums(values));
    converting_errors(|| client.update(&statement, limit, &values))
}

/// Runs a statement without a result.
///
/// # Errors
/// As [`select`].
pub fn run(statement: &str, values: &[Value]) -> spi::Result<()> {
    Spi::connect_mut(|client| update(client, statement, None, values).map(drop))
}

/// The first column of the first row; `None` if it is NULL or there is no row.
///
/// # Errors
/// PostgreSQL cannot run the query, or the column has another type.
pub fn one<T: FromDatum + IntoDatum>(query: &str) -> spi::Result<Option<T>> {
    first_row(query, |row| row.get_one::<T>()).map(Option::flatten)
}

/// The first two columns of the first row; otherwise like [`one`].
pub fn two<A: FromDatum + IntoDatum, B: FromDatum + IntoDatum>(
    query: &str,
) -> spi::Result<(Option<A>, Option<B>)> {
    first_row(query, |row| row.get_two::<A, B>()).map(Option::unwrap_or_default)
}

fn first_row<T>(
    query: &str,
    columns: impl FnOnce(SpiTupleTable<'_>) -> spi::Result<T>,
) -> spi::Result<Option<T>> {
    Spi::connect(|client| {
        let rows = select(client, query, Some(1), &[])?;
        if rows.is_empty() {
            return Ok(None);
        }
        columns(rows.first()).map(Some)
    })
}

/// Names in it must stay what they are.
///
/// # Panics
/// With an ERROR if the database's encoding lacks a character of it.
fn encoded(statement: &str) -> CString {
    text::exact(statement).unwrap_or_else(|| {
        log::error(
            PgSqlErrorCode::ERRCODE_UNTRANSLATABLE_CHARACTER,
            &format!(
                "a name has a character without equivalent in encoding \"{}\"",
                text::encoding_name()
            ),
            None,
            None,
        )
    })
}

fn datums(values: &[Value]) -> Vec<DatumWithOid<'static>> {
    let copy = |value: &Value| {
        // SAFETY: the datum is of the type that the value was made with.
        unsafe { DatumWithOid::new_from_datum(value.0.datum(), value.0.oid()) }
    };
    values.iter().map(copy).collect()
}

/// Raises PostgreSQL's errors again with text that every encoding has: pgrx takes it for UTF-8, and has put U+FFFD in the
/// place of what is not.
fn converting_errors<T>(run: impl FnOnce() -> T) -> T {
    PgTryBuilder::new(AssertUnwindSafe(run))
        .catch_others(|caught| match caught {
            CaughtError::PostgresError(error) if !text::is_database_utf8() => log::error(
                error.sql_error_code(),
                error.message(),
                error.detail(),
                error.hint(),
            ),
            caught => caught.rethrow(),
        })
        .execute()
}
