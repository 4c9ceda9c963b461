//! What a throw-away server is to be like.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::Result;
use crate::pam;
use crate::place::pg_config_says;
use crate::route::Route;

/// Stands for the server's major version, where that is part of a text.
pub const MAJOR: &str = "{major}";

/// What a server is to be like.
#[derive(Clone)]
pub struct Plan {
    pub name: String,
    /// Where `postgres` and `initdb` are.
    pub binaries: PathBuf,
    /// The lines of `pg_hba.conf`, below the one that lets the tests in; [`MAJOR`] in them stands for
    /// the server's major version.
    pub hba: Vec<String>,
    pub settings: BTreeMap<String, String>,
    /// Files and directories that this server sees in place of others (the second of each pair),
    /// in a mount namespace of its own.
    pub mounts: Vec<(PathBuf, PathBuf)>,
    /// Of the command line, after what every server gets.
    pub arguments: Vec<String>,
    pub environment: BTreeMap<String, String>,
    /// Certificate and key, both PEM; without, the server speaks no TLS.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// How the lines of `hba` that are ours stand before the server, if it preloads the library.
    pub route: Route,
}

impl Plan {
    /// A server of the version under test, without our library.
    ///
    /// # Errors
    /// There is no `pg_config`.
    pub fn new(name: &str) -> Result<Plan> {
        Ok(Plan {
            name: name.to_owned(),
            binaries: PathBuf::from(pg_config_says("--bindir")?),
            hba: Vec::new(),
            settings: BTreeMap::new(),
            mounts: Vec::new(),
            arguments: Vec::new(),
            environment: BTreeMap::new(),
            tls: None,
            route: Route::of_environment()?,
        })
    }

    #[must_use]
    pub fn set(mut self, name: &str, value: &str) -> Plan {
        self.settings.insert(name.to_owned(), value.to_owned());
        self
    }

    #[must_use]
    pub fn unset(mut self, name: &str) -> Plan {
        self.settings.remove(name);
        self
    }

    #[must_use]
    pub fn hba(mut self, lines: &[&str]) -> Plan {
        self.hba = lines.iter().map(|line| (*line).to_owned()).collect();
        self
    }

    #[must_use]
    pub fn route(mut self, route: Route) -> Plan {
        self.route = route;
        self
    }

    #[must_use]
    pub fn argument(mut self, argument: &str) -> Plan {
        self.arguments.push(argument.to_owned());
        self
    }

    #[must_use]
    pub fn environment(mut self, name: &str, value: &str) -> Plan {
        self.environment.insert(name.to_owned(), value.to_owned());
        self
    }

    /// What the server sees as `/etc/pam.d`.
    #[must_use]
    pub fn pam(self, directory: &pam::Directory) -> Plan {
        self.mount(directory.path(), Path::new("/etc/pam.d"))
    }

    /// What the server sees in place of `place`.
    #[must_use]
    pub fn mount(mut self, seen: &Path, place: &Path) -> Plan {
        self.mounts.push((seen.to_owned(), place.to_owned()));
        self
    }
}
