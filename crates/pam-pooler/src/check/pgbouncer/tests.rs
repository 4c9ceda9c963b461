use std::fs;

use super::*;

const GOOD: &str = "[databases]\napp = host=db.example.com dbname=app\n[pgbouncer]\nauth_type = pam\n\
                    client_tls_sslmode = require\nserver_tls_sslmode = verify-full\nserver_tls_ca_file = /ca\n\
                    server_login_retry = 1\n";

/// The codes for an ini file, most serious first, and the line of the first.
fn codes(ini: &str) -> (Vec<Code>, Option<usize>) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("pgbouncer.ini");
    fs::write(&file, ini).unwrap();
    let mut findings = check(&Ini::read(&file).unwrap());
    findings.sort();
    let line = findings.first().and_then(|finding| finding.place.1);
    (findings.iter().map(|finding| finding.code).collect(), line)
}

#[test]
fn a_good_file_has_no_findings() {
    assert_eq!(codes(GOOD).0, []);
}

#[test]
fn every_method_but_pam_is_found() {
    for (lines, line) in [
        ("auth_type = trust", Some(9)),
        ("auth_type = any", Some(9)),
        ("auth_type = TRUST", Some(9)),
        ("auth_type = hba", Some(9)),
        ("auth_type = md5", Some(9)),
        ("auth_type = scram-sha-256", Some(9)),
        ("auth_type = cert", Some(9)),
        ("auth_type = nonsense", Some(9)),
        // The last one counts.
        ("auth_type = pam\nauth_type = any", Some(10)),
    ] {
        assert_eq!(
            codes(&format!("{GOOD}{lines}")),
            (vec![Code::AuthType], line),
            "{lines}"
        );
    }
    // PgBouncer's own default, md5, also after another section.
    assert_eq!(codes(&GOOD.replace("auth_type", "; ")).0, [Code::AuthType]);
    let again = codes(&format!("{GOOD}[pgbouncer]\n")).0;
    assert_eq!(again.first(), Some(&Code::AuthType));
    assert_eq!(codes(&GOOD.replace("pam", "PAM")).0, []);
}

#[test]
fn a_forced_role_is_found() {
    for (database, expected) in [
        ("app = host=/run user=app", vec![Code::ForcedUser]),
        ("* = user='the app'", vec![Code::ForcedUser]),
        ("'a b' = dbname=a  user = app", vec![Code::ForcedUser]),
        // PgBouncer keeps the role of the first line.
        ("app = user=app\napp = host=/run", vec![Code::ForcedUser]),
        (
            "app = user=app password=x",
            vec![Code::ForcedUser, Code::DatabasePassword],
        ),
        ("app = password=x", vec![Code::DatabasePassword]),
        ("app = auth_user=x", vec![Code::DatabaseAuthUser]),
        ("app = application_name='user=app'", vec![]),
    ] {
        assert_eq!(
            codes(&format!("{GOOD}[databases]\n{database}")).0,
            expected,
            "{database}"
        );
    }
}

#[test]
fn both_legs_have_tls() {
    for mode in ["disable", "allow", "prefer", "nonsense"] {
        assert_eq!(
            codes(&GOOD.replace("= require", &format!("= {mode}"))).0,
            [Code::ClientTls]
        );
    }
    for mode in ["verify-ca", "verify-full"] {
        assert_eq!(
            codes(&GOOD.replace("= require", &format!("= {mode}"))).0,
            []
        );
    }
    for mode in ["disable", "prefer", "require", "verify-ca"] {
        let ini = GOOD.replace(
            "server_tls_sslmode = verify-full",
            &format!("server_tls_sslmode = {mode}"),
        );
        assert_eq!(codes(&ini).0, [Code::ServerTls], "{mode}");
        for (host, is_found) in [
            ("host=/run ", false),
            ("host=@pg ", false),
            ("", false),
            ("host=/run,db ", true),
            ("host=127.0.0.1 ", true),
        ] {
            let ini = ini.replace("host=db.example.com ", host);
            assert_eq!(codes(&ini).0.contains(&Code::ServerTls), is_found, "{host}");
        }
    }
    let without = GOOD
        .replace("client_tls_sslmode", ";")
        .replace("server_tls_sslmode", ";");
    assert_eq!(codes(&without).0, [Code::ServerTls, Code::ClientTls]);
    assert_eq!(
        codes(&GOOD.replace("server_tls_ca_file", ";")).0,
        [Code::AuthorityNotNamed]
    );
}

#[test]
fn what_makes_logins_slow_or_is_not_needed() {
    for (line, expected) in [
        ("server_login_retry = 15", vec![Code::LoginRetry]),
        ("server_login_retry = 0.5", vec![]),
        ("unix_socket_dir =", vec![Code::SocketOff]),
        ("max_client_conn = 39", vec![Code::MaxClientConn]),
        ("max_client_conn = 40", vec![]),
        (
            "auth_file = /etc/pgbouncer/userlist.txt",
            vec![Code::SettingNotNeeded],
        ),
        (
            "auth_hba_file = /etc/pgbouncer/hba.conf",
            vec![Code::SettingNotNeeded],
        ),
        (
            "auth_user = a\nauth_query = b",
            vec![Code::SettingNotNeeded; 2],
        ),
        ("pool_mode = statement", vec![]),
    ] {
        assert_eq!(codes(&format!("{GOOD}{line}")).0, expected, "{line}");
    }
    assert_eq!(
        codes(&GOOD.replace("server_login_retry", ";")).0,
        [Code::LoginRetry]
    );
}
