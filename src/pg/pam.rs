//! The PAM service of this library, and loading libpam's modules.

use std::ffi::{CStr, CString};
use std::fs;

use pgrx::pg_sys;

use super::log::{self, Level};
use super::{hba_file, shim};

/// The PAM service of this major version. The file's content depends on the version's library directory.
pub fn service() -> String {
    format!("aadauth-{}", pg_sys::PG_MAJORVERSION_NUM)
}

/// Whether a PAM service is one of this library, however pg_hba.conf spells it: libpam takes what
/// follows the last slash, in lower case (`pam_start` in pam_start.c).
pub fn is_ours(service: &str) -> bool {
    let name = file_name(service);
    name == "aadauth" || name.starts_with("aadauth-")
}

/// The file in `/etc/pam.d` that libpam reads for a service.
pub fn file_name(service: &str) -> String {
    let name = service.rsplit('/').next().unwrap_or(service);
    name.to_ascii_lowercase()
}

/// The module that a service file must name: exactly this string, because libpam distinguishes modules by it.
pub fn library() -> String {
    format!("{}/aadauth.so", library_directory())
}

/// Loads libpam's modules into the postmaster, once, if the service file is valid, and logs a warning if it is
/// not. Called from `_PG_init`.
pub fn prewarm() {
    let service = service();
    let path = format!("/etc/pam.d/{service}");
    let library = library();
    let is_valid = match fs::read_to_string(&path) {
        Ok(file) => names_only(&file, &library),
        Err(_) if hba_file::is_set() => return,
        Err(_) => false,
    };
    if !is_valid {
        // Without a service file libpam asks /etc/pam.d/other: not in the postmaster.
        let hint = format!(
            "Connections that match a record with pamservice={service} are refused until {path} is readable by the \
             server and has the lines \"auth required {library}\" and \"account required {library}\". With additional \
             modules, sign-ins are slower. \"make install\" or the package writes the file."
        );
        log::line(
            Level::Warning,
            &format!(
                "PAM service file \"{path}\" is missing or does not name only the library of aadauth"
            ),
            None,
            Some(&hint),
        );
        return;
    }
    let Ok(service) = CString::new(service) else {
        return;
    };
    // SAFETY: the name is NUL-terminated. The account stack that is run here names only our own module, which returns
    // at once in a process without a client.
    unsafe { shim::aad_prewarm_pam(service.as_ptr()) };
}

/// Whether the service file has our two lines and no other line that libpam reads.
pub fn names_only(file: &str, library: &str) -> bool {
    let mut kinds: Vec<&str> = Vec::new();
    for line in file.lines() {
        let mut words = line.split_whitespace();
        match (words.next(), words.next(), words.next(), words.next()) {
            (None, ..) => (),
            (Some(word), ..) if word.starts_with('#') => (),
            (Some(kind), Some("required"), Some(module), None) if module == library => {
                kinds.push(kind)
            }
            _ => return false,
        }
    }
    kinds.sort_unstable();
    kinds == ["account", "auth"]
}

fn library_directory() -> String {
    // SAFETY: filled by the postmaster before libraries are loaded (postmaster.c, getInstallationPaths) and not
    // changed again; NUL-terminated.
    unsafe { CStr::from_ptr((&raw const pg_sys::pkglib_path).cast()) }
        .to_string_lossy()
        .into_owned()
}
