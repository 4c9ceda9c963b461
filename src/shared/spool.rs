//! What all processes know of the spool, in shared memory.

use uuid::Uuid;

use super::outcome::Outcome;

/// Made anew with the shared memory: when the server starts, and after a crash.
#[derive(Clone, Copy, Debug)]
pub struct SpoolState {
    /// Names the flood table. `None` while the server runs for pg_upgrade, when nothing is recorded.
    pub start: Option<Uuid>,
    /// The file that is appended to.
    pub current: Option<Uuid>,
    /// Bytes of all other files.
    pub older: u64,
    /// How far the current file has been read.
    pub read_to: u64,
    /// Whether the current file's name is on disk; with `aadauth.audit_sync` alone.
    pub is_name_synced: bool,
    /// Events that could be neither written nor counted in the flood table, by outcome.
    pub lost: [u64; Outcome::COUNT],
    /// By share.
    pub trouble: [Trouble; 2],
}

/// How much of `aadauth.audit_spool_limit` an event may fill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    Whole,
    /// For refusals, which anybody can cause as often as they like, so that sign-ins find room.
    Half,
}

impl Share {
    pub fn of(self, limit: u64) -> u64 {
        match self {
            Share::Whole => limit,
            Share::Half => limit / 2,
        }
    }
}

/// Whether events can be written at the moment, for one share of the spool.
#[derive(Clone, Copy, Debug, Default)]
pub struct Trouble {
    /// Microseconds since the Unix epoch; 0 for none.
    pub since: i64,
    /// When the log last said so.
    pub said: i64,
    /// How many events were only counted since it began.
    pub counted: u64,
}

impl SpoolState {
    pub const EMPTY: SpoolState = SpoolState {
        start: None,
        current: None,
        older: 0,
        read_to: 0,
        is_name_synced: false,
        lost: [0; Outcome::COUNT],
        trouble: [Trouble {
            since: 0,
            said: 0,
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

    pub fn trouble_of(&mut self, share: Share) -> &mut Trouble {
        let [whole, half] = &mut self.trouble;
        match share {
            Share::Whole => whole,
            Share::Half => half,
        }
    }

    /// An event of that share has been written: how many were only counted before it.
    pub fn end_trouble(&mut self, share: Share) -> u64 {
        // What finds room in the half does in the whole.
        let ended: &[Share] = match share {
            Share::Whole => &[Share::Whole],
            Share::Half => &[Share::Whole, Share::Half],
        };
        let mut counted = 0;
        for share in ended {
            let trouble = self.trouble_of(*share);
            counted += trouble.counted;
            (trouble.since, trouble.counted) = (0, 0);
        }
        counted
    }
}
