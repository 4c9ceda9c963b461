//! Files that sign-ins depend on, which only root and the server's account should be able to change.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::finding::{Code, Finding};
use crate::pg::server;
use crate::settings;

pub fn check() -> Vec<Finding> {
    let data = server::data_directory();
    // PostgreSQL starts only as the owner of its data directory (miscinit.c, checkDataDir).
    let Ok(server) = fs::metadata(&data).map(|data| data.uid()) else {
        return Vec::new();
    };
    let configured = [
        settings::hba_file().map(|path| data.join(path)),
        settings::jwks_file(),
        settings::http().ca_file,
    ];
    let mut paths: Vec<PathBuf> = configured.into_iter().flatten().collect();
    let directories: Vec<PathBuf> = paths
        .iter()
        .filter_map(|path| path.parent().map(Path::to_owned))
        .collect();
    paths.extend(directories);
    let own = server::own_directory();
    let kept = fs::read_dir(&own).into_iter().flatten().flatten();
    paths.extend(kept.map(|entry| entry.path()));
    paths.push(own);
    paths.sort();
    paths.dedup();
    paths
        .iter()
        .filter_map(|path| check_path(path, server))
        .collect()
}

fn check_path(path: &Path, server: u32) -> Option<Finding> {
    // What is missing is another finding.
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
