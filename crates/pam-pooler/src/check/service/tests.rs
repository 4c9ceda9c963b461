use super::*;

fn write(directory: &Path, text: &str) -> PathBuf {
    let file = directory.join("pgbouncer");
    fs::write(&file, text).unwrap();
    file
}

/// A service file, with its module beside it; what is found but that root does not own them.
fn codes(text: &str) -> (Vec<Code>, Option<PathBuf>) {
    let directory = tempfile::tempdir().unwrap();
    let module = directory.path().join(MODULE);
    fs::write(&module, "").unwrap();
    let text = text.replace("MODULE", module.to_str().unwrap());
    let (findings, conf) = check(&write(directory.path(), &text));
    let codes = findings.iter().map(|finding| finding.code);
    (
        codes.filter(|code| *code != Code::FileChangeable).collect(),
        conf,
    )
}

#[test]
fn the_two_lines() {
    for text in [
        "auth required MODULE\naccount required MODULE\n",
        "# ours\n\naccount\trequired  MODULE # what follows is none\nauth     required  MODULE",
    ] {
        assert_eq!(codes(text), (vec![], None), "{text}");
    }
    assert_eq!(
        codes("auth required MODULE conf=/a\naccount required MODULE conf=/a"),
        (vec![], Some("/a".into()))
    );
}

#[test]
fn other_lines_are_found() {
    let good = "auth required MODULE\naccount required MODULE";
    for text in [
        "",
        "auth required MODULE",
        // libpam asks `other` for what a file has no line for.
        "account required MODULE",
        "auth required MODULE\naccount required MODULE\nsession required MODULE",
        "auth required pam_permit.so\naccount required pam_permit.so",
        "auth required MODULE\naccount required pam_permit.so",
        "auth sufficient MODULE\naccount required MODULE",
        "auth optional MODULE\naccount optional MODULE",
        "auth [default=ok] MODULE\naccount required MODULE",
        "auth required MODULE conf=/a\naccount required MODULE",
        "auth required MODULE conf=/a\naccount required MODULE conf=/b",
        "auth required MODULE debug\naccount required MODULE debug",
        "auth required MODULE\nauth required MODULE",
        &format!("auth sufficient pam_permit.so\n{good}"),
        &format!("@include common-auth\n{good}"),
        &format!("{good}\naccount sufficient pam_permit.so"),
        &format!("{good}\nsession optional pam_permit.so"),
        "auth \\\nrequired MODULE\naccount required MODULE",
    ] {
        assert_eq!(codes(text).0, [Code::PamServiceChanged], "{text}");
    }
}

#[test]
fn what_is_missing_or_can_be_changed() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let (findings, _) = check(&directory.path().join("nothing"));
    assert_eq!(findings[0].code, Code::PamServiceMissing);
    for module in ["/nothing/pam_aadauth.so", "nothing/pam_aadauth.so"] {
        let text = format!("auth required {module}\naccount required {module}");
        assert_eq!(codes(&text).0, [Code::PamModuleMissing], "{module}");
    }
    // A module of the system is found by its name.
    assert!(find("pam_permit.so").is_some());
    let file = write(directory.path(), "auth required pam_permit.so\n");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).unwrap();
    let (findings, _) = check(&file);
    assert_eq!(findings[0].code, Code::FileChangeable);
}
