//! The view `aadauth.statistics`, and `aadauth.reset_statistics()`.

use entra_token::TokenVersion;
use pgrx::JsonB;
use pgrx::prelude::*;
use serde_json::json;

use crate::audit;
use crate::pg::server;
use crate::pg::text::SqlText;
use crate::shared::counters::float;
use crate::shared::shmem;
use crate::shared::workers::Worker;
use crate::{clock, keys};

extension_sql!(
    r#"
REVOKE ALL ON FUNCTION aadauth.statistics(), aadauth.reset_statistics() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION aadauth.statistics() TO aadauth_monitor, aadauth_auditor;
CREATE VIEW aadauth.statistics AS SELECT * FROM aadauth.statistics();
COMMENT ON VIEW aadauth.statistics IS
    'Metrics with the names, labels and units of Prometheus: attempts to sign in, the duration of decisions, and the state of audit, workers, signing keys and directory';
COMMENT ON FUNCTION aadauth.reset_statistics() IS
    'sets the counters of aadauth.statistics to zero';
REVOKE ALL ON aadauth.statistics FROM PUBLIC;
GRANT SELECT ON aadauth.statistics TO aadauth_monitor, aadauth_auditor;
"#,
    name = "statistics_view",
    requires = [statistics, reset_statistics]
);

/// A worker, its name, and whether standbys have it as well.
const WORKERS: [(&str, Worker, bool); 4] = [
    ("network", Worker::Network, true),
    ("audit", Worker::Audit, false),
    ("session", Worker::Session, true),
    ("group-sync", Worker::GroupSync, false),
];

/// Each metric once for each combination of its labels. The value is NULL where there is none to report.
#[pg_extern(schema = "aadauth", parallel_restricted)]
fn statistics() -> TableIterator<
    'static,
    (
        name!(metric, SqlText),
        name!(labels, JsonB),
        name!(value, Option<f64>),
    ),
> {
    let counters = shmem::counters();
    let counted = counters.rows().into_iter();
    let mut rows: Vec<_> = counted
        .map(|(metric, labels, value)| (metric.into(), JsonB(labels), Some(value)))
        .collect();
    let mut add = |metric: &str, labels, value| rows.push((metric.into(), JsonB(labels), value));
    let since = clock::seconds(counters.since());
    add(
        "aadauth_counted_since_timestamp_seconds",
        json!({}),
        Some(since),
    );
    let backlog = float(audit::backlog());
    add("aadauth_spool_backlog_bytes", json!({}), Some(backlog));
    let is_standby = server::is_in_recovery();
    for (name, worker, is_everywhere) in WORKERS {
        let runs = f64::from(shmem::worker(worker).is_running());
        let value = (is_everywhere || !is_standby).then_some(runs);
        add("aadauth_worker_running", json!({ "worker": name }), value);
    }
    let has_problem = shmem::worker(Worker::Audit).problem().is_some();
    add(
        "aadauth_audit_write_failed",
        json!({}),
        Some(f64::from(has_problem)),
    );
    let now = clock::micros();
    for version in TokenVersion::ALL {
        let fetched_at = keys::fetched_at(version);
        let age = fetched_at.map(|at| clock::seconds(now.saturating_sub(at)));
        let labels = json!({ "version": version.to_string() });
        add("aadauth_signing_keys_age_seconds", labels, age);
    }
    TableIterator::new(rows)
}

#[pg_extern(schema = "aadauth")]
fn reset_statistics() {
    shmem::counters().reset(clock::micros());
}
