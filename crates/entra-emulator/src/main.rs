//! The command line of the emulator; `entra-emulator --help` describes it.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    match entra_emulator::cli::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("entra-emulator: {error}");
            ExitCode::FAILURE
        }
    }
}
