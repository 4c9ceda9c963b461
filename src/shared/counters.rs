//! The counters in shared memory.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use entra_api::ErrorKind;
use entra_token::Reason;
use serde_json::{Value, json};

use super::outcome::Outcome;

/// The audit's methods; the last is any method that is not aadauth's.
const METHODS: [&str; 4] = ["entra-token", "password", "pooler", "other"];

/// The upper bound of the first bucket of decision times, in microseconds; each further one is twice the one
/// before, and the last has none.
const FIRST_BOUND: u64 = 250;
const BUCKETS: usize = 16;

/// Numbers that only grow until they are reset. All zeros are a valid value.
pub struct Counters {
    /// Microseconds since the Unix epoch.
    since: AtomicI64,
    attempts: [[AtomicU64; METHODS.len()]; Outcome::COUNT],
    reasons: [AtomicU64; Reason::ALL.len()],
    decisions: [AtomicU64; BUCKETS],
    decision_micros: AtomicU64,
    not_recorded: AtomicU64,
    directory_calls: AtomicU64,
    directory_errors: [AtomicU64; ErrorKind::ALL.len()],
}

/// A metric, as Prometheus names it, its labels and its value.
pub type Row = (&'static str, Value, f64);

impl Counters {
    /// Sets when counting began.
    pub fn begin(&self, now: i64) {
        self.since.store(now, Ordering::Relaxed);
    }

    pub fn attempt(
        &self,
        outcome: Outcome,
        method: &str,
        reason: Option<Reason>,
        took: Option<Duration>,
    ) {
        let method = METHODS.iter().position(|name| *name == method);
        let by_method = self.attempts.get(outcome.number());
        add(
            by_method.and_then(|by_method| by_method.get(method.unwrap_or(METHODS.len() - 1))),
            1,
        );
        if let Some(reason) = reason {
            add(self.reasons.get(reason as usize), 1);
        }
        if let Some(took) = took {
            let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
            add(self.decisions.get(bucket(micros)), 1);
            add(Some(&self.decision_micros), micros);
        }
    }

    pub fn not_recorded(&self) {
        add(Some(&self.not_recorded), 1);
    }

    pub fn directory_call(&self, error: Option<ErrorKind>) {
        add(Some(&self.directory_calls), 1);
        if let Some(error) = error {
            let kind = ErrorKind::ALL.iter().position(|kind| *kind == error);
            add(kind.and_then(|kind| self.directory_errors.get(kind)), 1);
        }
    }

    /// Starts again from zero at `now`, in microseconds since the Unix epoch. An event that is counted at the same
    /// time may count before or after, for each number on its own.
    pub fn reset(&self, now: i64) {
        let numbers = self
            .attempts
            .iter()
            .flatten()
            .chain(&self.reasons)
            .chain(&self.decisions)
            .chain(&self.directory_errors)
            .chain([
                &self.decision_micros,
                &self.not_recorded,
                &self.directory_calls,
            ]);
        for number in numbers {
            number.store(0, Ordering::Relaxed);
        }
        self.begin(now);
    }

    /// The start of counting, in microseconds since the Unix epoch.
    pub fn since(&self) -> i64 {
        self.since.load(Ordering::Relaxed)
    }

    /// All numbers, zeros included, in the order of the view.
    pub fn rows(&self) -> Vec<Row> {
        let mut rows = Vec::new();
        for (outcome, by_method) in Outcome::ALL.into_iter().zip(&self.attempts) {
            for (method, number) in METHODS.iter().zip(by_method) {
                let labels = json!({ "outcome": outcome, "method": method });
                rows.push(("aadauth_sign_in_attempts_total", labels, count(number)));
            }
        }
        for (reason, number) in Reason::ALL.iter().zip(&self.reasons) {
            let labels = json!({ "reason": reason.code() });
            rows.push(("aadauth_sign_in_failures_total", labels, count(number)));
        }
        let mut bound = FIRST_BOUND;
        let mut decisions = 0.0;
        for (number, place) in self.decisions.iter().zip(1..) {
            decisions += count(number);
            let bound_in_seconds = match place < BUCKETS {
                true => seconds(bound).to_string(),
                false => "+Inf".to_owned(),
            };
            let labels = json!({ "le": bound_in_seconds });
            rows.push(("aadauth_decision_seconds_bucket", labels, decisions));
            bound *= 2;
        }
        let took = seconds(self.decision_micros.load(Ordering::Relaxed));
        rows.push(("aadauth_decision_seconds_sum", json!({}), took));
        rows.push(("aadauth_decision_seconds_count", json!({}), decisions));
        let plain = |name, number| (name, json!({}), count(number));
        rows.push(plain(
            "aadauth_events_not_recorded_total",
            &self.not_recorded,
        ));
        rows.push(plain(
            "aadauth_directory_requests_total",
            &self.directory_calls,
        ));
        for (kind, number) in ErrorKind::ALL.iter().zip(&self.directory_errors) {
            let labels = json!({ "kind": kind.code() });
            rows.push(("aadauth_directory_errors_total", labels, count(number)));
        }
        rows
    }
}

/// The first bucket whose bound is not exceeded.
fn bucket(micros: u64) -> usize {
    let times = micros.div_ceil(FIRST_BOUND).max(1);
    let place = times.next_power_of_two().trailing_zeros();
    usize::try_from(place).map_or(BUCKETS - 1, |place| place.min(BUCKETS - 1))
}

fn add(number: Option<&AtomicU64>, how_many: u64) {
    if let Some(number) = number {
        number.fetch_add(how_many, Ordering::Relaxed);
    }
}

fn count(number: &AtomicU64) -> f64 {
    float(number.load(Ordering::Relaxed))
}

/// As SQL's double precision.
#[expect(
    clippy::cast_precision_loss,
    reason = "exact up to 2^53, more than is ever counted"
)]
pub fn float(number: u64) -> f64 {
    number as f64
}

fn seconds(micros: u64) -> f64 {
    Duration::from_micros(micros).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn empty() -> Counters {
        Counters {
            since: AtomicI64::new(0),
            attempts: Default::default(),
            reasons: [const { AtomicU64::new(0) }; Reason::ALL.len()],
            decisions: Default::default(),
            decision_micros: AtomicU64::new(0),
            not_recorded: AtomicU64::new(0),
            directory_calls: AtomicU64::new(0),
            directory_errors: Default::default(),
        }
    }

    fn value(counters: &Counters, metric: &str, labels: &Value) -> f64 {
        let rows = counters.rows();
        let mut found = rows
            .iter()
            .filter(|row| row.0 == metric && row.1 == *labels);
        let value = found.next().unwrap().2;
        assert_eq!(found.next(), None);
        value
    }

    #[test]
    fn a_bound_belongs_to_its_bucket() {
        for (micros, place) in [(0, 0), (250, 0), (251, 1), (500, 1), (501, 2), (1000, 2)] {
            assert_eq!(bucket(micros), place, "{micros}");
        }
        assert_eq!(bucket(250 << 14), 14);
        assert_eq!(bucket((250 << 14) + 1), 15);
        assert_eq!(bucket(u64::MAX / 2), 15);
    }

    #[test]
    fn each_reason_has_a_place_of_its_own() {
        for (place, reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, place);
            let counters = empty();
            counters.attempt(Outcome::Refused, "entra-token", Some(*reason), None);
            let labels = json!({ "reason": reason.code() });
            assert_eq!(
                value(&counters, "aadauth_sign_in_failures_total", &labels),
                1.0
            );
        }
    }

    #[test]
    fn each_outcome_and_method_has_a_place_of_its_own() {
        for outcome in Outcome::ALL {
            for (method, label) in [
                ("entra-token", "entra-token"),
                ("password", "password"),
                ("peer", "other"),
            ] {
                let counters = empty();
                counters.attempt(outcome, method, None, None);
                let labels = json!({ "outcome": outcome, "method": label });
                assert_eq!(
                    value(&counters, "aadauth_sign_in_attempts_total", &labels),
                    1.0
                );
                let sum: f64 = counters.rows().iter().map(|row| row.2).sum();
                assert_eq!(sum, 1.0);
            }
        }
    }

    #[test]
    fn buckets_are_cumulative() {
        let counters = empty();
        for micros in [100, 300, 300, 9_000_000] {
            let took = Duration::from_micros(micros);
            counters.attempt(Outcome::Authenticated, "entra-token", None, Some(took));
        }
        let of = |bound: &str| {
            value(
                &counters,
                "aadauth_decision_seconds_bucket",
                &json!({ "le": bound }),
            )
        };
        assert_eq!(
            ["0.00025", "0.0005", "0.001", "4.096", "+Inf"].map(of),
            [1.0, 3.0, 3.0, 3.0, 4.0]
        );
        let plain = |metric| value(&counters, metric, &json!({}));
        assert_eq!(plain("aadauth_decision_seconds_sum"), 9.0007);
        assert_eq!(plain("aadauth_decision_seconds_count"), 4.0);
    }

    #[test]
    fn a_reset_leaves_nothing() {
        let counters = empty();
        let took = Some(Duration::from_secs(1));
        counters.attempt(Outcome::Refused, "peer", Some(Reason::ALL[0]), took);
        counters.not_recorded();
        counters.directory_call(Some(ErrorKind::TimedOut));
        counters.reset(5);
        assert!(counters.rows().iter().all(|row| row.2 == 0.0));
        assert_eq!(counters.since(), 5);
    }
}
