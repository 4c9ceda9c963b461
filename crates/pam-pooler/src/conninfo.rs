//! The connection string of the configuration file, completed: what it leaves out is decided here, not by environment
//! variables of PgBouncer's process.

use std::env;

use crate::ffi::options::{self, ConnectionOption};

/// What is used unless the connection string says otherwise. The credential goes to this server, so its certificate is
/// verified. A connection that is lost without notice is given up within seconds.
const DEFAULTS: &[(&str, &str)] = &[
    ("sslmode", "verify-full"),
    ("gssencmode", "disable"),
    ("connect_timeout", "2"),
    ("tcp_user_timeout", "2000"),
    ("keepalives_idle", "10"),
    ("keepalives_interval", "2"),
    ("keepalives_count", "3"),
    ("application_name", "pam_aadauth"),
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
    let sslmode = given("sslmode").unwrap_or("verify-full");
    if !is_local && !["verify-full", "verify-ca"].contains(&sslmode) {
        return Err("\"sslmode\" must be verify-full or verify-ca".to_owned());
    }
    let mut complete = vec!["client_encoding=UTF8".to_owned()];
    for option in &options {
        if let Some(value) = value(option) {
            complete.push(format!("{}='{}'", option.name, quoted(&value)));
        }
    }
    Ok(complete.join(" "))
}

/// What to give libpq for an option: `None` if it has its own default, which nothing in the environment changes.
fn value(option: &ConnectionOption) -> Option<String> {
    if let Some(value) = &option.value {
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
