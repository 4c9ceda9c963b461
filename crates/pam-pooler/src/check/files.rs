//! The files that decide on logins, and those of certificates and keys: who can change them, and who can read them.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::finding::{Code, Finding, Place};
use super::ini::Ini;

/// `own` is the user that PgBouncer runs as.
pub fn check(ini: &Ini, own: u32) -> Vec<Finding> {
    let mut findings: Vec<Finding> = ini
        .files
        .iter()
        .filter_map(|file| changeable(file, own))
        .collect();
    for side in ["client", "server"] {
        for kind in ["ca", "cert", "key"] {
            let named = ini.settings.get(&format!("{side}_tls_{kind}_file"));
            if let Some((file, place)) = named.filter(|(file, _)| !file.is_empty()) {
                findings.extend(of_tls(file, kind == "key", place, own));
            }
        }
    }
    findings
}

/// What is wrong with a file of certificates, or of a key, that is named at a place. Those who can change the authorities
/// can pose as the server.
pub fn of_tls(file: &str, is_key: bool, place: &Place, own: u32) -> Option<Finding> {
    unusable(file, is_key, place, own).or_else(|| changeable(Path::new(file), own))
}

/// A file that accounts other than root and `own` can change.
pub fn changeable(file: &Path, own: u32) -> Option<Finding> {
    let metadata = fs::metadata(file).ok()?;
    let (owner, mode) = (metadata.uid(), metadata.mode() & 0o7777);
    if [0, own].contains(&owner) && mode & 0o022 == 0 {
        return None;
    }
    let detail = format!("owner {owner}, mode {mode:04o}");
    Some(Finding::new(
        Code::FileChangeable,
        &Place::file(file),
        detail,
    ))
}

/// A file that is named at a place, and is not there, or is a key that PgBouncer cannot read, or that others can.
fn unusable(file: &str, is_key: bool, place: &Place, own: u32) -> Option<Finding> {
    let found = |code, what: &str| Some(Finding::new(code, place, format!("{file}: {what}")));
    match fs::metadata(file) {
        Err(error) => found(Code::FileMissing, &error.to_string()),
        Ok(metadata) if !metadata.is_file() => found(Code::FileMissing, "not a regular file"),
        Ok(metadata) if is_key => {
            let code = if is_exposed(&metadata) {
                Code::KeyExposed
            } else if is_readable(&metadata, own) {
                return None;
            } else {
                Code::KeyUnreadable
            };
            let mode = metadata.mode() & 0o7777;
            found(code, &format!("owner {}, mode {mode:04o}", metadata.uid()))
        }
        Ok(_) => None,
    }
}

/// As libpq has it (`initialize_SSL` in fe-secure-openssl.c).
fn is_exposed(key: &Metadata) -> bool {
    let others = if key.uid() == 0 { 0o037 } else { 0o077 };
    key.mode() & others != 0
}

/// By its owner; or it is root's, and a group's that PgBouncer may be in.
fn is_readable(key: &Metadata, own: u32) -> bool {
    [0, key.uid()].contains(&own) || (key.uid() == 0 && key.mode() & 0o040 != 0)
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn who_can_change_and_read_a_file() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        fs::write(&file, "").unwrap();
        let own = fs::metadata(&file).unwrap().uid();
        let place = Place::file(&file);
        for (mode, is_changeable, is_exposed) in [
            (0o600, false, false),
            (0o644, false, true),
            (0o660, true, true),
            (0o602, true, true),
        ] {
            fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
            assert_eq!(changeable(&file, own).is_some(), is_changeable, "{mode:o}");
            assert_eq!(
                unusable(file.to_str().unwrap(), true, &place, own).is_some(),
                is_exposed,
                "{mode:o}"
            );
        }
        fs::set_permissions(&file, Permissions::from_mode(0o640)).unwrap();
        assert_eq!(
            unusable(file.to_str().unwrap(), true, &place, own).is_some(),
            own != 0
        );
        assert!(unusable(file.to_str().unwrap(), false, &place, own).is_none());
        // Of certificates, only who can change them matters.
        fs::set_permissions(&file, Permissions::from_mode(0o646)).unwrap();
        let finding = of_tls(file.to_str().unwrap(), false, &place, own).unwrap();
        assert_eq!(finding.code, Code::FileChangeable);
        // A key of root's, and PgBouncer is another user.
        let others = own + 1;
        fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
        let finding = unusable(file.to_str().unwrap(), true, &place, others).unwrap();
        assert_eq!(finding.code, Code::KeyUnreadable);
        for missing in [directory.path(), &directory.path().join("nothing")] {
            let finding = unusable(missing.to_str().unwrap(), true, &place, own).unwrap();
            assert_eq!(finding.code, Code::FileMissing);
        }
    }

    #[test]
    fn a_file_of_somebody_else() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        fs::write(&file, "").unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
        if std::os::unix::fs::chown(&file, Some(4_242), None).is_ok() {
            assert!(changeable(&file, 4_242).is_none());
            assert!(changeable(&file, 4_243).is_some());
        } else {
            // Not as root: the file is ours.
            assert!(changeable(&file, 0).is_some());
        }
    }
}
