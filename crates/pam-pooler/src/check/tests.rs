use std::path::Path;

use finding::Code;

use super::*;

fn run(directory: &Path, ini: &str) -> Result<Vec<Finding>, String> {
    let at = |name: &str| directory.join(name);
    fs::write(at("pgbouncer.ini"), ini).unwrap();
    let module = at("pam_aadauth.so");
    fs::write(&module, "").unwrap();
    let line = format!(
        "required {} conf={}",
        module.display(),
        at("pooler.conf").display()
    );
    fs::write(at("pam"), format!("auth {line}\naccount {line}\n")).unwrap();
    fs::write(
        at("pooler.conf"),
        "server = host=/run user=pgb1 dbname=postgres\n",
    )
    .unwrap();
    let arguments = ["--pam".to_owned(), at("pam").display().to_string()];
    let arguments = arguments
        .into_iter()
        .chain([at("pgbouncer.ini").display().to_string()]);
    findings(&options(arguments.collect())?)
}

#[test]
fn the_most_serious_is_first() {
    let directory = tempfile::tempdir().unwrap();
    let found = run(
        directory.path(),
        "[pgbouncer]\nauth_type = any\nauth_file = x\nclient_tls_key_file = /nothing\n\
         [databases]\na = user=b password=c\n",
    )
    .unwrap();
    let codes: Vec<Code> = found.iter().map(|finding| finding.code).collect();
    // Not as root, the files are not root's.
    let codes: Vec<Code> = codes
        .into_iter()
        .filter(|code| *code != Code::FileChangeable)
        .collect();
    assert_eq!(
        codes,
        [
            Code::AuthType,
            Code::ForcedUser,
            Code::ClientTls,
            Code::FileMissing,
            Code::DatabasePassword,
            Code::LoginRetry,
            Code::SettingNotNeeded,
        ]
    );
    let first = found[0].to_string();
    assert!(
        first.starts_with("error: auth-type: /")
            && first.contains("pgbouncer.ini:2: auth_type = any\n    PgBouncer"),
        "{first}"
    );
}

#[test]
fn the_user_is_found_or_named() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("pgbouncer.ini");
    let found = |name: Option<&str>, ini: &str| {
        fs::write(&file, format!("[pgbouncer]\n{ini}")).unwrap();
        let options = Options {
            ini: file.clone(),
            conf: None,
            pam: PathBuf::new(),
            user: name.map(str::to_owned),
        };
        user(&options, &Ini::read(&file).unwrap())
    };
    let own = found(None, "").unwrap();
    assert_eq!(own, fs::metadata(&file).unwrap().uid());
    assert_eq!(found(None, "user = root"), Ok(0));
    assert_eq!(found(Some("root"), "user = daemon"), Ok(0));
    assert_ne!(found(Some("daemon"), "user = root"), Ok(0));
    assert_eq!(
        found(Some("no such"), ""),
        Err("there is no user \"no such\"".to_owned())
    );
}

#[test]
fn arguments() {
    let parse = |words: &[&str]| options(words.iter().map(|word| (*word).to_owned()).collect());
    let read = parse(&["--conf", "a", "b", "--user", "c"]).unwrap();
    assert_eq!(read.conf, Some("a".into()));
    assert_eq!((read.ini, read.user), ("b".into(), Some("c".to_owned())));
    assert_eq!(parse(&[]).unwrap().pam, Path::new("/etc/pam.d/pgbouncer"));
    assert!(parse(&["--nonsense"]).is_err());
    assert!(parse(&["--pam"]).is_err());
}
