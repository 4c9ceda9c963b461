//! Lines for syslog. What is said of a login is said by [`crate::login`], to PgBouncer's log as well.

use std::sync::mpsc::{SyncSender, sync_channel};

use crate::ffi::system;
use crate::process::{self, OfProcess};

/// How many lines may wait; more are dropped.
const WAITING: usize = 256;

/// The longest line, in bytes. PgBouncer cuts longer ones (`log_generic` in libusual's logging.c).
const LONGEST: usize = 900;

#[derive(Clone, Copy)]
pub enum Level {
    Warning,
    Notice,
    Info,
}

impl Level {
    fn priority(self) -> i32 {
        match self {
            Level::Warning => libc::LOG_WARNING,
            Level::Notice => libc::LOG_NOTICE,
            Level::Info => libc::LOG_INFO,
        }
    }
}

pub fn warning(text: &str) {
    line(Level::Warning, text);
}

pub fn notice(text: &str) {
    line(Level::Notice, text);
}

/// Hands a line to the thread that calls syslog, which waits without a limit if nobody reads the log.
pub fn line(level: Level, text: &str) {
    static LINES: OfProcess<SyncSender<(Level, String)>> = OfProcess::new();
    let lines = LINES.get(|| {
        let (send, receive) = sync_channel::<(Level, String)>(WAITING);
        process::start("aadauth-log", move || {
            for (level, text) in receive {
                system::syslog(level.priority(), &text);
            }
        })?;
        Ok(send)
    });
    if let Ok(lines) = lines {
        let _ = lines.try_send((level, printable(text)));
    }
}

/// Without control characters, and of bounded length.
pub fn printable(text: &str) -> String {
    let mut line = String::new();
    for character in text.chars() {
        if line.len() > LONGEST {
            line.push_str("...");
            break;
        }
        if character.is_control() {
            line.extend(character.escape_default());
        } else {
            line.push(character);
        }
    }
    line
}
