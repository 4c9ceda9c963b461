//! How long each test takes: libtest-mimic doesn't say.

use std::fs::{OpenOptions, create_dir_all};
use std::io::Write;
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use libtest_mimic::{Conclusion, Trial};

use crate::Result;
use crate::place::target;
use crate::server::kept_logs;

static TOOK: Mutex<Vec<(Duration, String)>> = Mutex::new(Vec::new());

/// A test that is timed.
pub fn trial(name: impl Into<String>, test: impl FnOnce() -> Result<()> + Send + 'static) -> Trial {
    let name = name.into();
    Trial::test(name.clone(), move || {
        let began = Instant::now();
        let outcome = test();
        if let Ok(mut took) = TOOK.lock() {
            took.push((began.elapsed(), name));
        }
        outcome.map_err(|error| error.to_string().into())
    })
}

/// Prints the ten slowest tests, and appends the time of each to `logs/durations` in the build directory: seconds,
/// tab, `suite::test`.
///
/// # Errors
/// The file can't be written.
fn report(suite: &str) -> Result<()> {
    let mut took = TOOK.lock().map_err(|_| "the times were lost")?;
    took.sort_by(|one, other| other.cmp(one));
    println!("slowest:");
    for (time, name) in took.iter().take(10) {
        println!("{:8.1} s  {name}", time.as_secs_f64());
    }
    let logs = target().join("logs");
    create_dir_all(&logs)?;
    let lines: String = took
        .drain(..)
        .map(|(time, name)| format!("{:.3}\t{suite}::{name}\n", time.as_secs_f64()))
        .collect();
    let mut file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(logs.join("durations"))?;
    Ok(file.write_all(lines.as_bytes())?)
}

/// [`report`], and what the process ends with.
pub fn conclude(suite: &str, conclusion: &Conclusion) -> ExitCode {
    if let Err(error) = report(suite) {
        eprintln!("the times of the tests: {error}");
    }
    if conclusion.has_failed() {
        if let Ok(logs) = kept_logs() {
            println!("The logs of the servers are in {}.", logs.display());
        }
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}
