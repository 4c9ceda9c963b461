//! `cargo run -p source-check -- imports | words [PATH] | count`

use std::process::ExitCode;

use source_check::words::{self, Table};
use source_check::{Result, count, imports, repository};

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("source-check: {error}");
            ExitCode::from(2)
        }
    }
}

/// Whether all is well.
fn run() -> Result<bool> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["imports"] => {
            let report = imports::check(repository()?)?;
            print!("{report}");
            Ok(report.violations.is_empty())
        }
        ["words", path @ ..] => {
            let (mut findings, _) = Table::read()?.check(repository()?)?;
            findings.retain(|finding| path.iter().all(|path| finding.file.starts_with(path)));
            for finding in &findings {
                println!("{finding}");
            }
            print!("\n{}", words::summary(&findings));
            Ok(findings.is_empty())
        }
        ["count"] => {
            print!("{}", count::count(repository()?)?);
            Ok(true)
        }
        _ => Err("usage: source-check imports | words [PATH] | count".into()),
    }
}
