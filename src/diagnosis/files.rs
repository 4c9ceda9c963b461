//! Files that sign-ins depend on, and the directories above them, which only root and the server's account should be able
//! to change.

use std::collections::BTreeSet;
use std::error::Error;
use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::finding::{Code, Finding};
use crate::pg::query as pg_query;
use crate::pg::text::{self, SqlText};
use crate::pg::{hba_file, pam as service, server};
use crate::settings;

/// # Errors
/// The settings cannot be read.
pub fn check() -> Result<Vec<Finding>, Box<dyn Error>> {
    let data = server::data_directory();
    // PostgreSQL starts only as the owner of its data directory (miscinit.c, checkDataDir).
    let server = fs::metadata(&data)?.uid();
    let own = server::own_directory();
    let kept = fs::read_dir(&own).into_iter().flatten().flatten();
    let hba_file = pg_query::one::<SqlText>("SELECT current_setting('hba_file')")?;
    let mut files: Vec<PathBuf> = [
        hba_file
            .and_then(|SqlText(path)| text::exact(&path))
            .map(|path| data.join(OsStr::from_bytes(path.to_bytes()))),
        hba_file::server_file().map(Path::to_owned),
        settings::jwks_file(),
        settings::http().ca_file,
        settings::credential_file().map(|(_, path)| path),
        Some(Path::new("/etc/pam.d").join(service::service())),
    ]
    .into_iter()
    .flatten()
    .chain(kept.map(|entry| entry.path()))
    // Where a link leads to is what counts, and what is missing is another finding.
    .filter_map(|path| path.canonicalize().ok())
    .collect();
    files.push(own);
    let all: BTreeSet<&Path> = files.iter().flat_map(|path| path.ancestors()).collect();
    let changeable = all.into_iter().filter_map(|path| check_path(path, server));
    Ok(changeable.collect())
}

fn check_path(path: &Path, server: u32) -> Option<Finding> {
    let metadata = fs::metadata(path).ok()?;
    is_changeable(&metadata, server).then(|| {
        Finding::new(
            Code::FileChangeable,
            path.display().to_string(),
            format!(
                "Accounts other than root and the server's can change it: its owner has user ID {}, and its mode is {:04o}.",
                metadata.uid(),
                metadata.mode() & 0o7777
            ),
            "Give it to root or to the server's account (chown), and make it writable for nobody else (chmod go-w).",
        )
    })
}

fn is_changeable(metadata: &Metadata, server: u32) -> bool {
    // In a directory with the sticky bit, nobody replaces another account's files.
    let is_protected = metadata.is_dir() && metadata.mode() & 0o1000 != 0;
    let is_of_others = ![0, server].contains(&metadata.uid());
    is_of_others || (metadata.mode() & 0o022 != 0 && !is_protected)
}
