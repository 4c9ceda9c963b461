//! The command line.

mod arguments;
mod az;
mod control;
mod error;
mod help;
mod io;
mod token;

use std::io::Write as _;

use clap::Parser as _;

use crate::authority::TokenVersion;
use crate::certificate::CertificateAuthority;
use crate::server::{self, Options};
use crate::signing_keys::SigningKeys;
use crate::state::{self, StateDirectory};
use crate::token::Deviation;

use arguments::{Arguments, CertificateArguments, Command, KeysArguments, Output, ServeArguments};
use io::{directory, print};

pub use error::CommandError;

/// Runs the command that the process was started with.
pub fn run() -> Result<(), CommandError> {
    match Arguments::parse().command {
        Command::Serve(arguments) => serve(arguments),
        Command::Token(arguments) => token::run(&arguments),
        Command::FederatedToken(arguments) => token::foreign(&arguments),
        Command::Certificate(arguments) => certificate(&arguments),
        Command::Keys(arguments) => keys(&arguments),
        Command::Control(arguments) => control::run(&arguments),
        Command::Az(arguments) => az::run(&arguments),
        Command::Deviations { output } => deviations(output),
    }
}

fn serve(arguments: ServeArguments) -> Result<(), CommandError> {
    let options = Options {
        directory: directory(arguments.directory.as_deref())?,
        state: arguments.state,
        port: arguments.port,
        imds_port: arguments.imds_port,
        address: arguments.listen,
        beyond_loopback: arguments.beyond_loopback,
        host: arguments.host,
        device_user: arguments.approve_device_codes,
        identity_header: arguments.identity_header,
    };
    server::serve(options, |running| {
        // Nobody may be reading; the server serves all the same.
        let _ = writeln!(
            std::io::stdout(),
            "Entra emulator ready: authority {}, managed identities {}, CA {}",
            running.authority,
            running.imds,
            running.ca_file.display()
        );
    })?;
    Ok(())
}

fn certificate(arguments: &CertificateArguments) -> Result<(), CommandError> {
    let state = StateDirectory::open(&arguments.state)?;
    let issued = CertificateAuthority::open(&state)?.issue(&arguments.name)?;
    state::replace(&arguments.out_key, &issued.key, 0o600)?;
    state::replace(&arguments.out_cert, &issued.certificate, 0o644)?;
    Ok(())
}

fn keys(arguments: &KeysArguments) -> Result<(), CommandError> {
    let keys = SigningKeys::open(&arguments.state)?;
    let issuer = match arguments.token_version {
        TokenVersion::V1 => None,
        TokenVersion::V2 => {
            let state = StateDirectory::open(&arguments.state)?;
            let authority = match &arguments.authority {
                Some(authority) => authority.clone(),
                None => server::last_authority(&state)?,
            };
            let directory = directory(arguments.directory.as_deref())?;
            let tenant = match &arguments.tenant {
                None => directory.tenants.first(),
                Some(name) => directory.tenant(name),
            };
            let tenant = tenant.ok_or_else(|| {
                CommandError::Usage("the directory has no such tenant".to_owned())
            })?;
            Some(authority.tenant_issuer(TokenVersion::V2, tenant.id))
        }
    };
    print(&format!("{:#}", keys.key_set(issuer.as_deref())))
}

fn deviations(output: Output) -> Result<(), CommandError> {
    match output {
        Output::Plain => print(help::deviations().trim_end()),
        Output::Json => {
            let rows: Vec<serde_json::Value> = Deviation::all()
                .iter()
                .map(|deviation| {
                    serde_json::json!({
                        "name": deviation.name,
                        "expected": deviation.expected,
                        "held": deviation.held.to_string(),
                        "about": deviation.about,
                    })
                })
                .collect();
            print(&format!("{:#}", serde_json::Value::Array(rows)))
        }
    }
}
