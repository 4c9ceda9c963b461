//! What `pgbouncer.ini` says.

use super::finding::{Code, Finding, Place};
use super::ini::{Ini, Line};

/// PgBouncer's own defaults (`bouncer_params` in main.c).
const DEFAULTS: &[(&str, &str)] = &[
    ("auth_type", "md5"),
    ("client_tls_sslmode", "disable"),
    ("max_client_conn", "100"),
    // "disable" before 1.19.
    ("server_tls_sslmode", "prefer"),
    ("server_login_retry", "15"),
    ("unix_socket_dir", "/tmp"),
];

const NOT_NEEDED: &[&str] = &[
    "auth_dbname",
    "auth_file",
    "auth_hba_file",
    "auth_ident_file",
    "auth_query",
    "auth_user",
];

/// What a value must be, for settings with one code each; PgBouncer compares keywords in any case.
type Rule = (&'static str, Code, fn(&str) -> bool);

const RULES: &[Rule] = &[
    ("auth_type", Code::AuthType, |value| value == "pam"),
    ("client_tls_sslmode", Code::ClientTls, |value| {
        ["require", "verify-ca", "verify-full"].contains(&value)
    }),
    ("server_login_retry", Code::LoginRetry, |value| {
        value.parse::<f64>().is_ok_and(|seconds| seconds <= 1.0)
    }),
    ("unix_socket_dir", Code::SocketOff, |value| {
        !value.is_empty()
    }),
    ("max_client_conn", Code::MaxClientConn, |value| {
        value.parse::<u32>().is_ok_and(|places| places >= 40)
    }),
];

const OF_DATABASES: &[(&str, Code)] = &[
    ("user", Code::ForcedUser),
    ("auth_user", Code::DatabaseAuthUser),
    ("password", Code::DatabasePassword),
];

pub fn check(ini: &Ini) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (name, code, is_good) in RULES {
        let (value, place) = value(ini, name);
        if !is_good(&value) {
            findings.push(Finding::new(*code, &place, format!("{name} = {value}")));
        }
    }
    for name in NOT_NEEDED {
        if let Some((_, place)) = ini.settings.get(*name) {
            findings.push(Finding::new(Code::SettingNotNeeded, place, *name));
        }
    }
    for line in &ini.databases {
        for (name, code) in OF_DATABASES {
            if line.value(name).is_some() {
                findings.push(Finding::new(*code, &line.place, &line.name));
            }
        }
    }
    findings.extend(server_tls(ini));
    findings
}

/// The value in force, in lower case, and where it is set.
fn value(ini: &Ini, name: &str) -> (String, Place) {
    if let Some((value, place)) = ini.settings.get(name) {
        return (value.to_ascii_lowercase(), place.clone());
    }
    let default = DEFAULTS.iter().find(|(setting, _)| *setting == name);
    let value = default.map(|(_, value)| *value).unwrap_or_default();
    let file = ini.files.first().cloned().unwrap_or_default();
    (value.to_owned(), Place(file, None))
}

fn server_tls(ini: &Ini) -> Option<Finding> {
    let database = ini.databases.iter().find(|database| !is_local(database))?;
    let (mode, place) = value(ini, "server_tls_sslmode");
    if mode != "verify-full" {
        let detail = format!("server_tls_sslmode = {mode}, for {}", database.name);
        return Some(Finding::new(Code::ServerTls, &place, detail));
    }
    let (authority, place) = value(ini, "server_tls_ca_file");
    authority
        .is_empty()
        .then(|| Finding::new(Code::AuthorityNotNamed, &place, "server_tls_ca_file ="))
}

/// Without a host, PgBouncer connects to the server by `unix_socket_dir`. Connections to a Unix socket have no TLS.
fn is_local(database: &Line) -> bool {
    let hosts = database.value("host");
    hosts.is_none_or(|hosts| hosts.split(',').all(|host| host.starts_with(['/', '@'])))
}

#[cfg(test)]
mod tests;
