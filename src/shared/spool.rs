//! What all processes know of the spool, in shared memory.

use uuid::Uuid;

use super::outcome::Outcome;
use super::request_counter::RequestCounter;

/// Initialized with the shared memory: when the server starts, and after a crash.
#[derive(Clone, Copy, Debug)]
pub struct SpoolState {
    /// Names the aggregate table. `None` while the server runs for pg_upgrade, when nothing is recorded.
    pub start: Option<Uuid>,
    /// Decides where keys go in that table. `None` without random bytes: no table is used then.
    pub aggregate_secret: Option<[u8; 16]>,
    /// The file that is appended to.
    pub current: Option<Uuid>,
    /// Bytes of all other files.
    pub older: u64,
    /// How far the current file has been read.
    pub read_to: u64,
    /// Of readers, to record what is in the spool.
    pub requests: RequestCounter,
    /// Whether the current file's name is on disk; only kept with `aadauth.audit_sync`.
    pub is_name_synced: bool,
    /// Events that could be neither written nor counted in the aggregate table, by outcome.
    pub lost: [u64; Outcome::COUNT],
    /// By quota.
    pub write_failures: [WriteFailures; 2],
}

/// How much of `aadauth.audit_spool_limit` an event may fill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quota {
    Full,
    /// For refusals, which anyone can cause any number of times, so that room is left for sign-ins.
    Half,
}

impl Quota {
    pub fn limit(self, total: u64) -> u64 {
        match self {
            Quota::Full => total,
            Quota::Half => total / 2,
        }
    }
}

/// Whether events can be written at the moment, for one quota of the spool.
#[derive(Clone, Copy, Debug, Default)]
pub struct WriteFailures {
    /// Microseconds since the Unix epoch; 0 for none.
    pub since: i64,
    /// When this was last logged.
    pub last_logged: i64,
    /// How many events were only counted since it began.
    pub counted: u64,
}

impl SpoolState {
    pub const EMPTY: SpoolState = SpoolState {
        start: None,
        aggregate_secret: None,
        current: None,
        older: 0,
        read_to: 0,
        requests: RequestCounter::NONE,
        is_name_synced: false,
        lost: [0; Outcome::COUNT],
        write_failures: [WriteFailures {
            since: 0,
            last_logged: 0,
            counted: 0,
        }; 2],
    };

    /// Makes another file the current one.
    pub fn rotate(&mut self, id: Uuid, length: u64) {
        self.current = Some(id);
        self.older = self.older.saturating_add(length);
        self.read_to = 0;
        self.is_name_synced = false;
    }

    pub fn lost_of(&mut self, outcome: Outcome) -> &mut u64 {
        let [authenticated, refused, interrupted] = &mut self.lost;
        match outcome {
            Outcome::Authenticated => authenticated,
            Outcome::Refused => refused,
            Outcome::Interrupted => interrupted,
        }
    }

    pub fn write_failures_of(&mut self, quota: Quota) -> &mut WriteFailures {
        let [full, half] = &mut self.write_failures;
        match quota {
            Quota::Full => full,
            Quota::Half => half,
        }
    }

    /// Called when an event of that quota has been written: how many were only counted before it.
    pub fn end_write_failures(&mut self, quota: Quota) -> u64 {
        // What fits into half of the spool also fits into all of it.
        let ended: &[Quota] = match quota {
            Quota::Full => &[Quota::Full],
            Quota::Half => &[Quota::Full, Quota::Half],
        };
        let mut counted = 0;
        for quota in ended {
            let failures = self.write_failures_of(*quota);
            counted += failures.counted;
            (failures.since, failures.counted) = (0, 0);
        }
        counted
    }
}
