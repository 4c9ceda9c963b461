use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use super::*;

/// The codes for a configuration file that names files of a directory which has a key and certificates.
fn codes(text: &str, mode: u32) -> Vec<Code> {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    for name in ["ca.crt", "pgb1.crt", "pgb1.key", "open.key"] {
        fs::write(at(name), "").unwrap();
    }
    fs::set_permissions(at("pgb1.key"), Permissions::from_mode(0o600)).unwrap();
    fs::set_permissions(at("open.key"), Permissions::from_mode(0o644)).unwrap();
    let file = at("pooler.conf");
    fs::write(
        &file,
        text.replace("DIR", directory.path().to_str().unwrap()),
    )
    .unwrap();
    fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
    let own = fs::metadata(&file).unwrap().uid();
    let mut findings = check(&file, own);
    findings.sort();
    findings.iter().map(|finding| finding.code).collect()
}

const GOOD: &str = "server = host=db user=pgb1 dbname=postgres sslrootcert=DIR/ca.crt sslcert=DIR/pgb1.crt \
                    sslkey=DIR/pgb1.key";

#[test]
fn a_good_file_has_no_findings() {
    assert_eq!(codes(GOOD, 0o644), []);
    assert_eq!(
        codes("server = host=/run user=pgb1 dbname=postgres", 0o600),
        []
    );
}

#[test]
fn what_the_module_refuses_is_found() {
    for text in [
        "",
        "deadline = 100",
        "server = host=db user=pgb1",
        &format!("{GOOD} sslmode=require"),
        &format!("{GOOD} sslmode=verify-ca"),
        &GOOD.replace("sslrootcert=DIR/ca.crt", ""),
        &format!("{GOOD} sslmode=disable"),
        &format!("{GOOD} password=x"),
        &format!("{GOOD}\ndeadline = 1"),
    ] {
        assert_eq!(codes(text, 0o644), [Code::ConfRefused], "{text}");
    }
    for mode in [0o664, 0o646] {
        assert_eq!(codes(GOOD, mode), [Code::ConfRefused], "{mode:o}");
    }
    let missing = check(Path::new("/nothing/pooler.conf"), 0);
    assert_eq!(missing[0].code, Code::ConfRefused);
}

#[test]
fn files_that_it_names() {
    for (from, to, expected) in [
        ("ca.crt", "no.crt", vec![Code::FileMissing]),
        ("pgb1.crt", "no.crt", vec![Code::FileMissing]),
        ("pgb1.key", "no.key", vec![Code::FileMissing]),
        ("pgb1.key", "open.key", vec![Code::KeyExposed]),
    ] {
        assert_eq!(codes(&GOOD.replace(from, to), 0o644), expected, "{to}");
    }
}
