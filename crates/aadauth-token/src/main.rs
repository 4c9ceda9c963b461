//! Gets Microsoft Entra access tokens for PostgreSQL clients, and judges them without a server.
//!
//! `source` gets a token, from `az` or with the refresh token that `cache` keeps, for instance;
//! `main` prints it, `exec` gives it to a program, `passfile` to clients that run for longer than a token
//! lives. `inspect` gets none. A `problem` ends the program.
#![forbid(unsafe_code)]

mod az;
mod cache;
mod device_code;
mod exec;
mod inspect;
mod passfile;
mod problem;
mod source;

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::passfile::Entry;
use crate::problem::Problem;
use crate::source::Request;

const AFTER_HELP: &str = "\
Examples:
  PGPASSWORD=$(aadauth-token --from az --audience api://... ) psql 'host=db user=alice@contoso.com'
  aadauth-token --from device-code --tenant GUID --audience api://... --exec psql 'host=db user=alice@contoso.com'
  aadauth-token --from managed-identity --audience api://... \\
      --passfile /run/standby/pgpass --for 'db:5432:*:standby' --every

Messages go to standard error, and never have a token in them. The exit status is 0, 1 if there is no
token, 2 on wrong usage; with --exec, that of the program, 127 if it is not found, 126 if it cannot be
started.";

/// Get a Microsoft Entra access token for PostgreSQL, and print it or give it to a client
#[derive(Debug, Parser)]
#[command(
    name = "aadauth-token",
    version,
    after_help = AFTER_HELP,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true
)]
struct Program {
    #[command(subcommand)]
    command: Option<Command>,

    #[command(flatten)]
    get: Get,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Judge the token on standard input without a server, and say which check it fails
    #[command(after_help = inspect::AFTER_HELP)]
    Inspect(inspect::Options),
}

#[derive(Debug, Args)]
struct Get {
    #[command(flatten)]
    request: Request,

    /// Run this program with the token as PGPASSWORD; what follows are its arguments
    #[arg(long, value_name = "PROGRAM", num_args = 1.., allow_hyphen_values = true, conflicts_with = "passfile")]
    exec: Vec<OsString>,

    /// Write the token to a password file of libpq, which belongs to this program
    #[arg(long, value_name = "FILE", requires = "entry")]
    passfile: Option<PathBuf>,

    /// For which connections the password file is: HOST:PORT:DATABASE:USER, each of which may be *
    #[arg(
        id = "entry",
        long = "for",
        value_name = "CONNECTIONS",
        requires = "passfile"
    )]
    entry: Option<Entry>,

    /// Keep running, and renew the token when three quarters of its life are over, or after so many seconds
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "86400", requires = "passfile",
        value_parser = clap::value_parser!(u32).range(1..))]
    every: Option<u32>,
}

fn main() -> ExitCode {
    let program = Program::parse();
    let outcome = match program.command {
        Some(Command::Inspect(options)) => {
            let judged = inspect::run(&options, &mut io::stdin().lock(), &mut io::stdout().lock());
            judged
                .map(|refusal| ExitCode::from(u8::from(refusal.is_some())))
                .map_err(Problem::usage)
        }
        None => program.get.run().map(|()| ExitCode::SUCCESS),
    };
    outcome.unwrap_or_else(|problem| {
        eprintln!("aadauth-token: {}", problem.text);
        ExitCode::from(problem.status)
    })
}

impl Get {
    fn run(self) -> Result<(), Problem> {
        let source = self.request.source().map_err(Problem::usage)?;
        match (self.exec.split_first(), self.passfile, self.entry) {
            (Some((program, arguments)), ..) => {
                Err(exec::run(program, arguments, &source.first_token()?))
            }
            (None, Some(path), Some(entry)) => {
                let every = self
                    .every
                    .map(|seconds| Duration::from_secs(seconds.into()));
                Ok(passfile::keep(&path, &entry, every, &source)?)
            }
            _ => {
                let token = source.first_token()?;
                let mut output = io::stdout().lock();
                let written = output
                    .write_all(token.text())
                    .and_then(|()| output.write_all(b"\n"));
                Ok(written.map_err(|error| format!("standard output: {error}"))?)
            }
        }
    }
}
