//! When the periodic task of a worker is due.

use std::time::{Duration, Instant};

const FIRST_RETRY: Duration = Duration::from_secs(5);
const LAST_RETRY: Duration = Duration::from_secs(300);

/// When the next scheduled run is due. Time and jitter are arguments.
#[derive(Debug)]
pub struct Schedule {
    interval: Duration,
    last_success: Option<Instant>,
    failures: u32,
    due: Instant,
}

impl Schedule {
    /// The first fetch is due at once.
    pub fn new(interval: Duration, now: Instant) -> Schedule {
        Schedule {
            interval,
            last_success: None,
            failures: 0,
            due: now,
        }
    }

    pub fn due(&self) -> Instant {
        self.due
    }

    pub fn set_interval(&mut self, interval: Duration) {
        self.interval = interval;
        if let (Some(success), 0) = (self.last_success, self.failures) {
            self.due = success + interval;
        }
    }

    /// Makes a fetch due if the last one failed.
    pub fn retry_now(&mut self, now: Instant) {
        if self.failures > 0 {
            self.due = now;
        }
    }

    pub fn succeeded(&mut self, now: Instant) {
        self.last_success = Some(now);
        self.failures = 0;
        self.due = now + self.interval;
    }

    /// The next attempt is due after 5 s, then after twice as long each time, up to 5 min. Each pause is shortened by up
    /// to a quarter, by `jitter`, so that servers that failed together do not retry together.
    pub fn failed(&mut self, now: Instant, jitter: u8) {
        let doubled = FIRST_RETRY * 2_u32.pow(self.failures.min(10));
        let pause = doubled.min(LAST_RETRY);
        self.failures = self.failures.saturating_add(1);
        self.due = now + pause - pause * u32::from(jitter) / 1024;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn failures_are_retried_after_five_seconds_to_five_minutes() {
        let now = Instant::now();
        let mut schedule = Schedule::new(HOUR, now);
        assert_eq!(schedule.due(), now);
        let mut pauses = Vec::new();
        for _ in 0..40 {
            schedule.failed(now, 0);
            pauses.push((schedule.due() - now).as_secs());
        }
        assert_eq!(
            pauses.get(..8),
            Some([5, 10, 20, 40, 80, 160, 300, 300].as_slice())
        );
        assert_eq!(pauses.last(), Some(&300));
        schedule.failed(now, u8::MAX);
        let shortest = schedule.due() - now;
        assert!(shortest > Duration::from_secs(225) && shortest < Duration::from_secs(226));
        schedule.retry_now(now);
        assert_eq!(schedule.due(), now);
    }

    #[test]
    fn success_waits_for_the_interval() {
        let now = Instant::now();
        let mut schedule = Schedule::new(HOUR, now);
        schedule.failed(now, 0);
        schedule.succeeded(now);
        assert_eq!(schedule.due(), now + HOUR);
        schedule.retry_now(now);
        assert_eq!(schedule.due(), now + HOUR);
        schedule.set_interval(HOUR * 2);
        assert_eq!(schedule.due(), now + HOUR * 2);
        schedule.failed(now, 0);
        assert_eq!(schedule.due(), now + Duration::from_secs(5));
    }
}
