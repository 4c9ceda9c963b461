//! The boundary that neither a panic nor a PostgreSQL ERROR crosses.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use pgrx::pg_sys::panic::{CaughtError, ErrorReportWithLevel};

use super::log::{self, Level};

/// Runs code that PostgreSQL or libpam has called; `None` if it panicked or raised an ERROR, which is then in the
/// server log and nowhere else.
///
/// `what` completes "internal error in aadauth while". pgrx turns an ERROR of a guarded call into a panic after it has
/// emptied PostgreSQL's error stack, so that one `catch_unwind` is enough for both. The caller must refuse on `None`.
pub fn catch<T>(what: &str, code: impl FnOnce() -> T) -> Option<T> {
    match catch_unwind(AssertUnwindSafe(code)) {
        Ok(value) => Some(value),
        Err(payload) => {
            // Logging may fail as well, for lack of memory or in another library's hook.
            let _ = catch_unwind(AssertUnwindSafe(|| {
                let message = format!(
                    "internal error in aadauth while {what}: {}",
                    describe(payload.as_ref())
                );
                log::line(
                    Level::Log,
                    &message,
                    None,
                    Some("A sign-in that was in progress is refused. Please report this."),
                );
            }));
            None
        }
    }
}

/// The ERROR that was caught, PostgreSQL's or one that Rust code has raised; `None` for another panic.
pub(super) fn report(payload: &(dyn Any + Send)) -> Option<&ErrorReportWithLevel> {
    match payload.downcast_ref::<CaughtError>() {
        Some(
            CaughtError::PostgresError(report)
            | CaughtError::ErrorReport(report)
            | CaughtError::RustPanic {
                ereport: report, ..
            },
        ) => Some(report),
        // pgrx makes a `CaughtError` of it at the next of its own boundaries.
        None => payload.downcast_ref::<ErrorReportWithLevel>(),
    }
}

/// The message of a caught panic or ERROR.
pub(super) fn describe(payload: &(dyn Any + Send)) -> String {
    if let Some(report) = report(payload) {
        return report.message().to_owned();
    }
    if let Some(text) = payload.downcast_ref::<&str>() {
        return (*text).to_owned();
    }
    payload
        .downcast_ref::<String>()
        .cloned()
        .unwrap_or_else(|| "a panic without a message".into())
}
