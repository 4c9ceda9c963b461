//! The connection string of the configuration file, completed: what it leaves out is decided here, not by environment
//! variables of PgBouncer's process.

use std::env;

use crate::ffi::options::{self, ConnectionOption};

/// What is used unless the connection string says otherwise. The credential goes to this server, so its certificate is
/// verified. A connection that is lost without notice is given up within seconds.
const DEFAULTS: &[(&str, &str)] = &[
    ("sslmode", "verify-full"),
    ("gssencmode", "disable"),
    ("passfile", NO_FILE),
    ("sslcrl", NO_FILE),
    ("connect_timeout", "2"),
    ("tcp_user_timeout", "2000"),
    ("keepalives_idle", "10"),
    ("keepalives_interval", "2"),
    ("keepalives_count", "3"),
    ("application_name", NAME),
];

/// The server's `pg_stat_activity` shows which version asks.
const NAME: &str = concat!("pam_aadauth ", env!("CARGO_PKG_VERSION"));

/// A file that cannot exist. Where none is named, libpq takes one from the home directory.
const NO_FILE: &str = "/dev/null/none";

/// What must be named for a server that is reached over the network: libpq takes files from the home directory
/// otherwise.
const FILES: &[(&str, &str)] = &[
    (
        "sslrootcert",
        "the file with the authority that issued the server's certificate",
    ),
    ("sslcert", "the file with the pooler's certificate"),
    ("sslkey", "the file with the pooler's key"),
];

/// Refused in the connection string.
const REFUSED: &[(&str, &str)] = &[
    ("service", "\"service\" is not supported: name the options"),
    (
        "password",
        "\"password\" is not supported: use a client certificate, or peer authentication on a Unix socket",
    ),
    (
        "client_encoding",
        "\"client_encoding\" is always UTF8 and must not be set",
    ),
    (
        "application_name",
        "\"application_name\" is always that of the module and must not be set",
    ),
    (
        "sslpassword",
        "\"sslpassword\" is not supported: use a key without one that only PgBouncer can read",
    ),
];

/// Checks a connection string and completes it.
///
/// # Errors
/// It is not one, or it is not accepted; what is.
pub fn complete(conninfo: &str) -> Result<String, String> {
    let options = options::parse(conninfo)?;
    let given = |name: &str| {
        options
            .iter()
            .find(|option| option.name == name)
            .and_then(|option| option.value.as_deref())
            .filter(|value| !value.is_empty())
    };
    for name in ["host", "user", "dbname"] {
        given(name).ok_or_else(|| format!("\"server\" must name \"{name}\""))?;
    }
    for (name, message) in REFUSED {
        if given(name).is_some() {
            return Err((*message).to_owned());
        }
    }
    if env::var_os("PGSERVICE").is_some() {
        return Err("the environment variable PGSERVICE must not be set".to_owned());
    }
    let is_local = given("hostaddr").is_none()
        && given("host").is_some_and(|hosts| hosts.split(',').all(is_socket_directory));
    // Encryption by GSSAPI would take the place of TLS, whatever sslmode says.
    if given("gssencmode").is_some_and(|mode| mode != "disable") {
        return Err("\"gssencmode\" must be disable".to_owned());
    }
    if !is_local {
        if given("sslmode").is_some_and(|mode| mode != "verify-full") {
            return Err("\"sslmode\" must be verify-full".to_owned());
        }
        for (name, what) in FILES {
            given(name).ok_or_else(|| format!("\"server\" must name \"{name}\", {what}"))?;
        }
        if given("sslrootcert").is_some_and(|file| !file.starts_with('/')) {
            return Err("\"sslrootcert\" must be an absolute path".to_owned());
        }
    }
    let mut complete = vec!["client_encoding=UTF8".to_owned()];
    for option in &options {
        // With a file that does not exist, libpq would not read the directory.
        let has_directory = option.name == "sslcrl" && given("sslcrldir").is_some();
        if has_directory && given("sslcrl").is_none() {
            complete.push("sslcrl=''".to_owned());
        } else if let Some(value) = value(option) {
            complete.push(format!("{}='{}'", option.name, quoted(&value)));
        }
    }
    Ok(complete.join(" "))
}

/// What a complete connection string says for an option, unless that is nothing.
pub fn value_of(complete: &str, name: &str) -> Option<String> {
    let options = options::parse(complete).ok()?;
    let option = options.into_iter().find(|option| option.name == name)?;
    option.value.filter(|value| !value.is_empty())
}

/// What to give libpq for an option: `None` if it has its own default, which nothing in the environment changes.
fn value(option: &ConnectionOption) -> Option<String> {
    // libpq takes an empty value for none.
    if let Some(value) = option.value.as_ref().filter(|value| !value.is_empty()) {
        return Some(value.clone());
    }
    if let Some((_, value)) = DEFAULTS.iter().find(|(name, _)| *name == option.name) {
        return Some((*value).to_owned());
    }
    let variable = option.variable.as_ref()?;
    env::var_os(variable)?;
    Some(option.compiled_in.clone().unwrap_or_default())
}

/// As libpq decides it (`connectOptions2` in fe-connect.c).
fn is_socket_directory(host: &str) -> bool {
    host.starts_with(['/', '@'])
}

fn quoted(value: &str) -> String {
    value.replace('\\', "\\\\").replace('\'', "\\'")
}
