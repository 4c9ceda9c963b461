//! The time of day.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use pgrx::prelude::*;

/// Microseconds since the Unix epoch.
pub fn micros() -> i64 {
    micros_of(SystemTime::now())
}

/// Another moment in microseconds since the Unix epoch.
pub fn micros_of(moment: SystemTime) -> i64 {
    micros_in(moment.duration_since(UNIX_EPOCH).unwrap_or_default())
}

/// A duration in microseconds.
pub fn micros_in(duration: Duration) -> i64 {
    duration.as_micros().try_into().unwrap_or(i64::MAX)
}

/// Microseconds as seconds; 0 for what is negative.
pub fn seconds(micros: i64) -> f64 {
    Duration::from_micros(micros.try_into().unwrap_or_default()).as_secs_f64()
}

/// An SQL timestamp from microseconds since the Unix epoch, to the whole second.
pub fn timestamp(micros: i64) -> Option<TimestampWithTimeZone> {
    // PostgreSQL counts from 1 January 2000 (datatype/timestamp.h, POSTGRES_EPOCH_JDATE).
    const POSTGRES_EPOCH: i64 = 946_684_800;
    let seconds = micros.div_euclid(1_000_000).checked_sub(POSTGRES_EPOCH)?;
    TimestampWithTimeZone::try_from(seconds.checked_mul(1_000_000)?).ok()
}
