//! Checks the configuration of a PgBouncer that asks `pam_aadauth.so`: its ini file, the PAM service file and the
//! module's own configuration. It changes nothing and connects to nothing.
//!
//! | module | subject |
//! |---|---|
//! | [`ini`], [`pairs`] | reading `pgbouncer.ini` |
//! | [`pgbouncer`] | what it says |
//! | [`files`] | files of certificates and keys, and who can change or read files |
//! | [`service`] | the PAM service file and the module |
//! | [`conf`] | the module's configuration file |
//! | [`finding`] | kinds of findings |
#![forbid(unsafe_code)]

mod conf;
mod files;
mod finding;
mod ini;
mod pairs;
mod pgbouncer;
mod service;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use finding::Finding;
use ini::Ini;
use pam_aadauth::settings;

const HELP: &str = "\
Checks the configuration of a PgBouncer that asks pam_aadauth.so, and says what to write instead

Usage: aadauth-pooler-check [OPTIONS] [/etc/pgbouncer/pgbouncer.ini]

Options:
  --conf FILE  the module's configuration file (default: the one that the PAM service file names, or
               /etc/aadauth/pooler.conf)
  --pam FILE   the PAM service file (default: /etc/pam.d/pgbouncer)
  --user NAME  the user that PgBouncer runs as (default: \"user\" in the ini file, or that file's owner)
  --help       print this

The exit status is 0 if nothing is found, 1 if there are findings, and 2 if a file cannot be read as
PgBouncer reads it. Run it as root: others cannot read all files.
";

struct Options {
    ini: PathBuf,
    conf: Option<PathBuf>,
    pam: PathBuf,
    user: Option<String>,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--help") {
        print!("{HELP}");
        return ExitCode::SUCCESS;
    }
    match options(arguments).and_then(|options| findings(&options)) {
        Ok(findings) if findings.is_empty() => {
            println!("no findings");
            ExitCode::SUCCESS
        }
        Ok(findings) => {
            for finding in &findings {
                print!("{finding}");
            }
            ExitCode::from(1)
        }
        Err(problem) => {
            eprintln!("aadauth-pooler-check: {problem}");
            ExitCode::from(2)
        }
    }
}

fn options(arguments: Vec<String>) -> Result<Options, String> {
    let mut options = Options {
        ini: PathBuf::from("/etc/pgbouncer/pgbouncer.ini"),
        conf: None,
        pam: PathBuf::from("/etc/pam.d/pgbouncer"),
        user: None,
    };
    let mut arguments = arguments.into_iter();
    while let Some(argument) = arguments.next() {
        let mut value = || {
            let value = arguments.next();
            value.ok_or_else(|| format!("{argument} has no value; see --help"))
        };
        match argument.as_str() {
            "--conf" => options.conf = Some(value()?.into()),
            "--pam" => options.pam = value()?.into(),
            "--user" => options.user = Some(value()?),
            option if option.starts_with('-') => {
                return Err(format!("there is no option {option}; see --help"));
            }
            file => options.ini = file.into(),
        }
    }
    Ok(options)
}

/// Everything that is found, most serious first.
///
/// # Errors
/// The ini file cannot be read as PgBouncer reads it, or the user does not exist.
fn findings(options: &Options) -> Result<Vec<Finding>, String> {
    let ini = Ini::read(&options.ini)?;
    let own = user(options, &ini)?;
    let (mut findings, named) = service::check(&options.pam);
    let conf = options.conf.clone().or(named);
    let conf = conf.unwrap_or_else(|| settings::FILE.into());
    findings.extend(conf::check(&conf, own));
    findings.extend(pgbouncer::check(&ini));
    findings.extend(files::check(&ini, own));
    findings.sort();
    Ok(findings)
}

/// The id of the user that PgBouncer runs as.
fn user(options: &Options, ini: &Ini) -> Result<u32, String> {
    let of_ini = ini.settings.get("user").map(|(name, _)| name);
    let Some(name) = options.user.as_ref().or(of_ini) else {
        return fs::metadata(&options.ini)
            .map(|metadata| metadata.uid())
            .map_err(|error| format!("{}: {error}", options.ini.display()));
    };
    let output = Command::new("id").args(["-u", "--", name]).output();
    let output = output.map_err(|error| format!("cannot run id: {error}"))?;
    String::from_utf8_lossy(&output.stdout)
        .trim()
        .parse()
        .map_err(|_| format!("there is no user \"{name}\""))
}

#[cfg(test)]
mod tests;
