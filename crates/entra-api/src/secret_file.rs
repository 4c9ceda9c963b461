//! Files that hold secrets.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use zeroize::Zeroizing;

use crate::error::{DirectoryError, ErrorKind};

/// Far more than a certificate chain with its key, or a token.
const LARGEST: u64 = 64 * 1024;

/// Reads a file that only its owner may read. `what` is what it should hold, for the error.
///
/// The rules are PostgreSQL's for the key of its TLS certificate: `check_ssl_key_file_permissions`
/// in `be-secure-common.c`. They are applied to the file that was opened, so that it can't be
/// another one by then. As there, symbolic links are followed: Kubernetes mounts secrets as such.
pub(crate) fn read(path: &Path, what: &str) -> Result<Zeroizing<Vec<u8>>, DirectoryError> {
    let unusable = |problem: &str| {
        let message = format!("the {what} in {path:?} is not used: {problem}");
        DirectoryError::new(ErrorKind::CredentialUnusable, message)
    };
    // Without NONBLOCK, opening a pipe would wait for a writer.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, Mode::empty())
        .map_err(|error| unusable(&std::io::Error::from(error).to_string()))?;
    let file = File::from(file);
    let metadata = file
        .metadata()
        .map_err(|error| unusable(&error.to_string()))?;
    if !metadata.is_file() {
        return Err(unusable("it is not a regular file"));
    }
    let own = rustix::process::geteuid().as_raw();
    if let Some(problem) = permission_problem(metadata.uid(), own, metadata.mode()) {
        return Err(unusable(problem));
    }
    // Room for all of it at once: a buffer that grows leaves copies.
    let mut content = Zeroizing::new(Vec::with_capacity(LARGEST as usize + 64));
    file.take(LARGEST + 1)
        .read_to_end(&mut content)
        .map_err(|error| unusable(&error.to_string()))?;
    match content.len() as u64 > LARGEST {
        true => Err(unusable("it is larger than 64 kB")),
        false => Ok(content),
    }
}

/// Reads a file that only its owner may read, and that holds one line; returns the line. `what` is what it
/// should hold, for the error.
///
/// # Errors
///
/// [`ErrorKind::CredentialUnusable`]: the file cannot be read, may be read by others, or does not hold that.
pub fn read_line(path: &Path, what: &str) -> Result<Zeroizing<Vec<u8>>, DirectoryError> {
    let content = read(path, what)?;
    let line = Zeroizing::new(content.trim_ascii().to_vec());
    let problem = if line.is_empty() {
        "it is empty"
    } else if !line.iter().all(u8::is_ascii_graphic) {
        "it is not one line of printable ASCII characters without spaces"
    } else {
        return Ok(line);
    };
    let message = format!("the {what} in {path:?} is not used: {problem}");
    Err(DirectoryError::new(ErrorKind::CredentialUnusable, message))
}

/// What is wrong with a file of this owner and mode, read by a process of the user `own`.
fn permission_problem(owner: u32, own: u32, mode: u32) -> Option<&'static str> {
    const GROUP_AND_OTHERS: u32 = 0o077;
    const GROUP_BEYOND_READ_AND_OTHERS: u32 = 0o037;
    if owner != own && owner != 0 {
        return Some("it must be owned by the user that reads it, or by root");
    }
    if (owner == own && mode & GROUP_AND_OTHERS != 0)
        || (owner == 0 && mode & GROUP_BEYOND_READ_AND_OTHERS != 0)
    {
        return Some(
            "it has group or world access; it may have mode 0600 or less if owned by the user that reads \
             it, 0640 or less if owned by root",
        );
    }
    None
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    const POSTGRES: u32 = 106;

    #[test]
    fn owner_and_mode_are_those_of_a_key_of_postgresql() {
        for (owner, own, mode, is_fine) in [
            (POSTGRES, POSTGRES, 0o600, true),
            (POSTGRES, POSTGRES, 0o400, true),
            (POSTGRES, POSTGRES, 0o640, false),
            (POSTGRES, POSTGRES, 0o604, false),
            (POSTGRES, POSTGRES, 0o610, false),
            (0, POSTGRES, 0o600, true),
            (0, POSTGRES, 0o640, true),
            (0, POSTGRES, 0o660, false),
            (0, POSTGRES, 0o650, false),
            (0, POSTGRES, 0o644, false),
            (0, POSTGRES, 0o641, false),
            // PostgreSQL doesn't run as root, but what it asks is then the stricter of the two.
            (0, 0, 0o640, false),
            (1000, POSTGRES, 0o600, false),
            (1000, 0, 0o600, false),
        ] {
            let problem = permission_problem(owner, own, 0o100_000 | mode);
            assert_eq!(problem.is_none(), is_fine, "{owner} {own} {mode:o}");
        }
    }

    fn problem(path: &Path) -> String {
        let error = read_line(path, "client secret").unwrap_err();
        assert_eq!(error.kind, ErrorKind::CredentialUnusable);
        assert!(!error.message.contains("s3cret"), "{error}");
        error.message
    }

    #[test]
    fn a_file_is_read_by_the_rules() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        assert!(problem(&path).contains("No such file"));
        std::fs::write(&path, " s3cret\n\n").unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
        assert!(problem(&path).contains("group or world access"));
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        let read = read_line(&path, "client secret").unwrap();
        assert_eq!(read.as_slice(), b"s3cret");
        let link = directory.path().join("link");
        symlink(&path, &link).unwrap();
        assert_eq!(
            read_line(&link, "client secret").unwrap().as_slice(),
            b"s3cret"
        );
        for (content, expected) in [
            (b"".as_slice(), "empty"),
            (b"\n \n", "empty"),
            (b"s3cret and more", "one line"),
            (b"s3cret\ns3cret", "one line"),
            (b"s3cret\0", "one line"),
        ] {
            std::fs::write(&path, content).unwrap();
            assert!(problem(&path).contains(expected), "{content:?}");
        }
        std::fs::write(&path, vec![b'x'; 64 * 1024]).unwrap();
        assert_eq!(read_line(&path, "client secret").unwrap().len(), 64 * 1024);
        std::fs::write(&path, vec![b'x'; 64 * 1024 + 1]).unwrap();
        assert!(problem(&path).contains("larger than 64 kB"));
    }

    #[test]
    fn only_a_regular_file_is_read() {
        let directory = tempfile::tempdir().unwrap();
        assert!(problem(directory.path()).contains("regular file"));
        // Opening a pipe without a writer would wait.
        let pipe = directory.path().join("pipe");
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, Mode::RUSR | Mode::WUSR).unwrap();
        assert!(problem(&pipe).contains("regular file"));
        assert!(problem(Path::new("/dev/zero")).contains("regular file"));
    }
}
