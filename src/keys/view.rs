//! `aadauth.signing_keys`.

use entra_token::TokenVersion;
use pgrx::prelude::*;

use super::policy;
use crate::clock;
use crate::pg::text::SqlText;
use crate::shared::shmem;

extension_sql!(
    r#"
REVOKE ALL ON FUNCTION aadauth.signing_keys() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION aadauth.signing_keys() TO aadauth_auditor;
CREATE VIEW aadauth.signing_keys AS SELECT * FROM aadauth.signing_keys();
COMMENT ON VIEW aadauth.signing_keys IS
    'The keys that token signatures are verified with, and the outcome of the last attempt to fetch them. A token version without keys has one row without a key_id.';
REVOKE ALL ON aadauth.signing_keys FROM PUBLIC;
GRANT SELECT ON aadauth.signing_keys TO aadauth_auditor;
"#,
    name = "signing_keys_view",
    requires = [signing_keys]
);

/// One row per key, and one row without a key for a token version that has none.
#[allow(clippy::type_complexity, reason = "pgrx must see the columns here")]
#[pg_extern(schema = "aadauth", parallel_restricted)]
fn signing_keys() -> TableIterator<
    'static,
    (
        name!(token_version, SqlText),
        name!(issuer, Option<SqlText>),
        name!(key_id, Option<SqlText>),
        name!(bits, Option<i32>),
        name!(source, Option<SqlText>),
        name!(fetched_at, Option<TimestampWithTimeZone>),
        name!(age, Option<Interval>),
        name!(served, bool),
        name!(last_attempt_at, Option<TimestampWithTimeZone>),
        name!(last_error, Option<SqlText>),
    ),
> {
    let policy = policy();
    let ((attempted_at, problem), sets) = shmem::keys(|table| {
        let sets =
            TokenVersion::ALL.map(|version| (version, table.snapshot(policy.as_ref(), version)));
        (table.last_attempt(), sets)
    });
    let last_attempt_at = attempted_at.and_then(clock::timestamp);
    let now = clock::micros();
    let mut rows = Vec::new();
    for (version, set) in sets {
        let Some((sourced, is_served)) = set.filter(|(sourced, _)| !sourced.set.keys.is_empty())
        else {
            rows.push((
                version.to_string().into(),
                None,
                None,
                None,
                None,
                None,
                None,
                false,
                last_attempt_at,
                problem.clone().map(SqlText),
            ));
            continue;
        };
        for key in &sourced.set.keys {
            rows.push((
                version.to_string().into(),
                Some(sourced.set.issuer.clone().into()),
                Some(key.key_id.clone().into()),
                bits(&key.modulus),
                Some(sourced.source.name().into()),
                clock::timestamp(sourced.fetched_at),
                interval(now.saturating_sub(sourced.fetched_at)),
                is_served,
                last_attempt_at,
                problem.clone().map(SqlText),
            ));
        }
    }
    TableIterator::new(rows)
}

/// Length of a big-endian number.
fn bits(number: &[u8]) -> Option<i32> {
    let significant = number.iter().skip_while(|byte| **byte == 0);
    let first = significant.clone().next()?;
    let bits = significant.count() * 8 - first.leading_zeros() as usize;
    bits.try_into().ok()
}

/// From microseconds, to the whole second.
fn interval(micros: i64) -> Option<Interval> {
    Interval::new(
        0,
        0,
        micros.max(0).div_euclid(1_000_000).checked_mul(1_000_000)?,
    )
    .ok()
}
