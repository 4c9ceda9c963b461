//! The view `aadauth.statistics`, and `aadauth.reset_statistics()`.

use entra_token::TokenVersion;
use pgrx::prelude::*;

use crate::audit;
use crate::pg::text::SqlText;
use crate::shared::shmem;
use crate::shared::workers::Worker;
use crate::{clock, keys};

extension_sql!(
    r#"
REVOKE ALL ON FUNCTION aadauth.statistics(), aadauth.reset_statistics() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION aadauth.statistics() TO aadauth_auditor, pg_monitor;
CREATE VIEW aadauth.statistics AS SELECT * FROM aadauth.statistics();
COMMENT ON VIEW aadauth.statistics IS
    'Counts of attempts to sign in by outcome, method and reason, the duration of decisions, and the state of audit, workers, signing keys and directory. Counted since counted_since.';
COMMENT ON FUNCTION aadauth.reset_statistics() IS
    'sets the counters of aadauth.statistics to zero';
REVOKE ALL ON aadauth.statistics FROM PUBLIC;
GRANT SELECT ON aadauth.statistics TO aadauth_auditor, pg_monitor;
"#,
    name = "statistics_view",
    requires = [statistics, reset_statistics]
);

const WORKERS: [(&str, Worker); 4] = [
    ("network", Worker::Network),
    ("audit", Worker::Audit),
    ("session", Worker::Session),
    ("group-sync", Worker::GroupSync),
];

/// Each value by name and label; the label is empty where there is only one value, the value NULL where there is none to
/// report.
#[pg_extern(schema = "aadauth", parallel_restricted)]
fn statistics() -> TableIterator<
    'static,
    (
        name!(statistic, SqlText),
        name!(label, SqlText),
        name!(value, Option<i64>),
    ),
> {
    let counters = shmem::counters();
    let counted = counters
        .rows()
        .into_iter()
        .map(|(statistic, label, value)| (statistic.into(), label.into(), Some(number(value))));
    let mut rows: Vec<_> = counted.collect();
    let since = counters.since().div_euclid(1_000_000);
    rows.push(("counted_since".into(), SqlText::default(), Some(since)));
    rows.push((
        "spool_backlog_bytes".into(),
        SqlText::default(),
        Some(number(audit::backlog())),
    ));
    for (name, worker) in WORKERS {
        let runs = shmem::worker(worker).is_running();
        rows.push(("worker_running".into(), name.into(), Some(i64::from(runs))));
    }
    let has_problem = shmem::worker(Worker::Audit).problem().is_some();
    rows.push((
        "audit_trouble".into(),
        SqlText::default(),
        Some(i64::from(has_problem)),
    ));
    let now = clock::micros();
    for version in TokenVersion::ALL {
        let fetched_at = keys::fetched_at(version);
        let age = fetched_at.map(|at| now.saturating_sub(at).max(0).div_euclid(1_000_000));
        rows.push((
            "signing_keys_age_seconds".into(),
            version.to_string().into(),
            age,
        ));
    }
    TableIterator::new(rows)
}

#[pg_extern(schema = "aadauth")]
fn reset_statistics() {
    shmem::counters().reset(clock::micros());
}

fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
