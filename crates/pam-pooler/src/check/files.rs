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
    for leg in ["client", "server"] {
        for kind in ["ca", "cert", "key"] {
            let named = ini.settings.get(&format!("{leg}_tls_{kind}_file"));
            if let Some((file, place)) = named.filter(|(file, _)| !file.is_empty()) {
                findings.extend(unusable(file, kind == "key", place));
            }
        }
    }
    findings
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

/// A file that is named at a place, and is not there, or is a key that others can read.
pub fn unusable(file: &str, is_key: bool, place: &Place) -> Option<Finding> {
    let found = |code, what: &str| Some(Finding::new(code, place, format!("{file}: {what}")));
    match fs::metadata(file) {
        Err(error) => found(Code::FileMissing, &error.to_string()),
        Ok(metadata) if !metadata.is_file() => found(Code::FileMissing, "not a regular file"),
        Ok(metadata) if is_key && is_exposed(&metadata) => {
            let mode = metadata.mode() & 0o7777;
            found(
                Code::KeyExposed,
                &format!("owner {}, mode {mode:04o}", metadata.uid()),
            )
        }
        Ok(_) => None,
    }
}

/// As libpq has it (`initialize_SSL` in fe-secure-openssl.c).
fn is_exposed(key: &Metadata) -> bool {
    let others = if key.uid() == 0 { 0o037 } else { 0o077 };
    key.mode() & others != 0
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
                unusable(file.to_str().unwrap(), true, &place).is_some(),
                is_exposed,
                "{mode:o}"
            );
        }
        fs::set_permissions(&file, Permissions::from_mode(0o640)).unwrap();
        assert_eq!(
            unusable(file.to_str().unwrap(), true, &place).is_some(),
            own != 0
        );
        assert!(unusable(file.to_str().unwrap(), false, &place).is_none());
        for missing in [directory.path(), &directory.path().join("nothing")] {
            let finding = unusable(missing.to_str().unwrap(), true, &place).unwrap();
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
