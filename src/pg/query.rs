//! Queries that only read, so that they work on a standby as well.
//!
//! pgrx's `Spi::get_one` and its like begin to write: they assign a transaction id (pgrx, `SpiClient::update`).

use pgrx::prelude::*;
use pgrx::spi::SpiTupleTable;

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
        let rows = client.select(query, Some(1), &[])?;
        if rows.is_empty() {
            return Ok(None);
        }
        columns(rows.first()).map(Some)
    })
}
