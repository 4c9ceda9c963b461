//! How many refused sign-ins of each reason the server log has had within a second, and how many it has not.

use std::sync::atomic::{AtomicU64, Ordering};

use entra_token::Reason;

/// The counts of each reason's current second. All zeros are a valid value.
pub struct LogLines([AtomicU64; Reason::ALL.len()]);

/// The refusals of one reason and second that were not logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeftOut {
    pub reason: Reason,
    /// Since the Unix epoch.
    pub second: u32,
    pub count: u32,
}

/// What becomes of the log lines of one refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Admission {
    pub is_logged: bool,
    /// No other one of its second was left out before.
    pub is_first_left_out: bool,
    /// Those of an earlier second, which the caller logs: nobody else is told.
    pub earlier: Option<LeftOut>,
}

/// The state of one reason, which is changed as one number: so no refusal is counted twice or not at all.
#[derive(Clone, Copy)]
struct State {
    second: u32,
    /// At most [`LogLines::MAX_RATE`].
    logged: u32,
    /// At most [`MAX_LEFT_OUT`]: no server forks as many processes in a second.
    left_out: u32,
}

const LEFT_OUT_BITS: u32 = 20;
const MAX_LEFT_OUT: u32 = (1 << LEFT_OUT_BITS) - 1;

impl LogLines {
    /// The highest rate. The number of logged refusals has the 12 bits that the other two leave.
    pub const MAX_RATE: u32 = 1000;

    /// Counts a refusal at `now`, in seconds since the Unix epoch, of which at most `rate` are logged in a second.
    pub fn admit(&self, reason: Reason, now: u32, rate: u32) -> Admission {
        let rate = rate.min(Self::MAX_RATE);
        let Some(number) = self.0.get(reason as usize) else {
            return Admission {
                is_logged: true,
                is_first_left_out: false,
                earlier: None,
            };
        };
        let admitted = |number| State::from(number).at(now).admitted(rate);
        let before = number.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |number| {
            Some(admitted(number).into())
        });
        let before = State::from(before.unwrap_or_else(|number| number));
        let (begun, earlier) = (before.at(now), before.left_out_before(reason, now));
        let is_logged = begun.logged < rate;
        Admission {
            is_logged,
            is_first_left_out: !is_logged && begun.left_out == 0,
            earlier,
        }
    }

    /// Those that were left out in seconds that are over at `now`, for the caller to log: nobody else is told. The
    /// second value is whether there are any of the current second.
    pub fn take(&self, now: u32) -> (Vec<LeftOut>, bool) {
        let mut taken = Vec::new();
        let mut is_pending = false;
        for (reason, number) in Reason::ALL.iter().zip(&self.0) {
            let left_out = |number| State::from(number).left_out_before(*reason, now);
            let before = number.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |number| {
                left_out(number).map(|_| State::from(number).reported().into())
            });
            match before {
                Ok(number) => taken.extend(left_out(number)),
                Err(number) => is_pending |= State::from(number).left_out > 0,
            }
        }
        (taken, is_pending)
    }
}

impl State {
    /// Whether a refusal at `now` belongs to its second. A process may have read the clock just before another one
    /// began the next second.
    fn is_of(self, now: u32) -> bool {
        self.second == now || self.second == now.saturating_add(1)
    }

    /// The state at `now`.
    fn at(self, now: u32) -> State {
        if self.is_of(now) {
            return self;
        }
        State {
            second: now,
            logged: 0,
            left_out: 0,
        }
    }

    fn admitted(self, rate: u32) -> State {
        if self.logged < rate {
            State {
                logged: self.logged + 1,
                ..self
            }
        } else {
            State {
                left_out: (self.left_out + 1).min(MAX_LEFT_OUT),
                ..self
            }
        }
    }

    fn left_out_before(self, reason: Reason, now: u32) -> Option<LeftOut> {
        (self.left_out > 0 && !self.is_of(now)).then_some(LeftOut {
            reason,
            second: self.second,
            count: self.left_out,
        })
    }

    fn reported(self) -> State {
        State {
            left_out: 0,
            ..self
        }
    }
}

impl From<u64> for State {
    fn from(number: u64) -> State {
        let part = |shift: u32, bits: u32| {
            u32::try_from(number >> shift & ((1 << bits) - 1)).unwrap_or_default()
        };
        State {
            second: part(u32::BITS, u32::BITS),
            logged: part(LEFT_OUT_BITS, u32::BITS - LEFT_OUT_BITS),
            left_out: part(0, LEFT_OUT_BITS),
        }
    }
}

impl From<State> for u64 {
    fn from(state: State) -> u64 {
        u64::from(state.second) << u32::BITS
            | u64::from(state.logged) << LEFT_OUT_BITS
            | u64::from(state.left_out)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;
    use std::thread;

    use super::*;

    const NOW: u32 = 1_700_000_000;

    fn lines() -> LogLines {
        LogLines([const { AtomicU64::new(0) }; Reason::ALL.len()])
    }

    fn left_out(reason: Reason, second: u32, count: u32) -> LeftOut {
        LeftOut {
            reason,
            second,
            count,
        }
    }

    #[test]
    fn beyond_the_rate_they_are_left_out_until_the_next_second() {
        let lines = lines();
        let admit = |now| lines.admit(Reason::Expired, now, 2);
        let is_logged = [NOW; 5].map(|now| admit(now).is_logged);
        assert_eq!(is_logged, [true, true, false, false, false]);
        assert_eq!(lines.take(NOW), (vec![], true));
        // Read just before the second began.
        assert!(!admit(NOW - 1).is_logged);
        let next = admit(NOW + 1);
        assert_eq!(next.earlier, Some(left_out(Reason::Expired, NOW, 4)));
        assert!(next.is_logged && !next.is_first_left_out);
        assert_eq!(admit(NOW + 1).earlier, None);
        assert!(admit(NOW + 1).is_first_left_out);
        assert!(!admit(NOW + 1).is_first_left_out);
        let over = (vec![left_out(Reason::Expired, NOW + 1, 2)], false);
        assert_eq!(lines.take(NOW + 2), over);
        assert_eq!(lines.take(NOW + 2), (vec![], false));
    }

    #[test]
    fn each_reason_has_a_rate_of_its_own() {
        let lines = lines();
        for reason in Reason::ALL.iter().copied() {
            assert!(lines.admit(reason, NOW, 1).is_logged);
            assert!(lines.admit(reason, NOW, 1).is_first_left_out);
        }
        let all: Vec<_> = Reason::ALL
            .iter()
            .map(|reason| left_out(*reason, NOW, 1))
            .collect();
        assert_eq!(lines.take(NOW + 1), (all, false));
    }

    #[test]
    fn a_clock_that_is_set_back_begins_another_second() {
        let lines = lines();
        lines.admit(Reason::Expired, NOW, 1);
        lines.admit(Reason::Expired, NOW, 1);
        let earlier = NOW - 3600;
        let admission = lines.admit(Reason::Expired, earlier, 1);
        assert!(admission.is_logged);
        assert_eq!(admission.earlier, Some(left_out(Reason::Expired, NOW, 1)));
    }

    #[test]
    fn the_largest_numbers_fit() {
        let lines = lines();
        for _ in 0..2 * LogLines::MAX_RATE {
            lines.admit(Reason::Expired, u32::MAX - 1, u32::MAX);
        }
        let expected = left_out(Reason::Expired, u32::MAX - 1, LogLines::MAX_RATE);
        assert_eq!(lines.take(0), (vec![expected], false));
        let full = State {
            second: 1,
            logged: LogLines::MAX_RATE,
            left_out: MAX_LEFT_OUT,
        };
        assert_eq!(full.admitted(1).left_out, MAX_LEFT_OUT);
    }

    /// Eight threads whose seconds pass, and a ninth that takes what was left out, as the worker does.
    #[test]
    fn every_refusal_is_logged_or_left_out_once() {
        const THREADS: u32 = 8;
        const TIMES: u32 = 20_000;
        const RATE: u32 = 10;
        let (lines, clock) = (lines(), AtomicU32::new(NOW));
        let (logged, counted) = (AtomicU32::new(0), AtomicU32::new(0));
        let take = || {
            let (taken, _) = lines.take(clock.load(Ordering::Relaxed));
            let sum = taken.iter().map(|left_out| left_out.count).sum();
            counted.fetch_add(sum, Ordering::Relaxed);
        };
        thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    for attempt in 0..TIMES {
                        if attempt % 100 == 0 {
                            clock.fetch_add(1, Ordering::Relaxed);
                        }
                        let now = clock.load(Ordering::Relaxed);
                        let admission = lines.admit(Reason::Expired, now, RATE);
                        logged.fetch_add(admission.is_logged.into(), Ordering::Relaxed);
                        let earlier = admission.earlier.map_or(0, |earlier| earlier.count);
                        counted.fetch_add(earlier, Ordering::Relaxed);
                    }
                });
            }
            scope.spawn(|| (0..TIMES).for_each(|_| take()));
        });
        clock.fetch_add(2, Ordering::Relaxed);
        take();
        let (logged, counted) = (logged.into_inner(), counted.into_inner());
        assert_eq!(logged + counted, THREADS * TIMES);
        assert!(logged >= RATE && counted > 0, "{logged} and {counted}");
    }
}
