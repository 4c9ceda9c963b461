use std::fs;
use std::os::unix::fs::PermissionsExt;

use pg_test::{Result, pam};

use super::{expect, expect_silence, good_server};
use crate::rig::{Rig, installed_library};

pub fn mistakes(rig: &Rig) -> Result<()> {
    let file = &pam::service()?;
    let directory = rig.pam_directory("check")?;
    let server = good_server(rig, "check-pam", |plan| plan.pam(&directory))?;
    let good = fs::read_to_string(directory.path().join(file))?;
    let other = fs::read_to_string(directory.path().join("other"))?;
    let library = installed_library()?.display().to_string();

    directory.remove(file)?;
    expect(
        &server,
        "no file",
        &[(
            "pam-file-missing",
            &["/etc/pam.d/aadauth-{major}", "No such file", &library],
        )],
    )?;
    directory.write(file, &good)?;
    expect_silence(&server, "the file is back")?;
    fs::set_permissions(
        directory.path().join(file),
        PermissionsExt::from_mode(0o600),
    )?;
    expect(
        &server,
        "a file that root alone may read",
        &[("pam-file-missing", &["Permission denied"])],
    )?;

    for content in [
        "auth required pam_permit.so\naccount required pam_permit.so\n".to_owned(),
        good.replace(&library, "/usr/lib/postgresql/99/lib/aadauth.so"),
        format!("auth required {library}\n"),
        format!("{good}auth optional pam_permit.so\n"),
        format!("{good}@include common-account\n"),
    ] {
        directory.write(file, &content)?;
        expect(
            &server,
            &content,
            &[(
                "pam-file-of-another-library",
                &["/etc/pam.d/aadauth-{major}", &library],
            )],
        )?;
        directory.write(file, &good)?;
        expect_silence(&server, "the file is back")?;
    }

    directory.write(
        "other",
        "auth required pam_permit.so\naccount required pam_permit.so\n",
    )?;
    expect(
        &server,
        "other lets everybody in",
        &[("pam-other-accepts", &["/etc/pam.d/other", "pam_deny.so"])],
    )?;
    directory.write("other", &other)?;
    expect_silence(&server, "the machine's own")
}
