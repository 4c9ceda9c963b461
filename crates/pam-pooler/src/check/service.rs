//! The PAM service file, and the module that it names.

use std::fs;
use std::path::{Path, PathBuf};

use super::files;
use super::finding::{Code, Finding, Place};

const MODULE: &str = "pam_aadauth.so";

/// Where distributions have libpam's modules, beside `/lib/*-linux-gnu`.
const DIRECTORIES: &[&str] = &["/lib64", "/lib", "/usr/lib64", "/usr/lib"];

/// The findings, and the module's configuration file if the lines name one.
pub fn check(file: &Path) -> (Vec<Finding>, Option<PathBuf>) {
    let place = Place::file(file);
    let found = |code, detail: &str| Finding::new(code, &place, detail);
    let text = match fs::read(file) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) => {
            let missing = found(Code::PamServiceMissing, &error.to_string());
            return (vec![missing], None);
        }
    };
    let mut findings: Vec<Finding> = files::changeable(file, 0).into_iter().collect();
    let Some(named) = named(&text) else {
        findings.push(found(Code::PamServiceChanged, "other lines"));
        return (findings, None);
    };
    findings.extend(match find(&named.module) {
        Some(module) => files::changeable(&module, 0),
        None => Some(found(Code::PamModuleMissing, &named.module)),
    });
    (findings, named.conf)
}

#[derive(PartialEq)]
struct Named {
    module: String,
    conf: Option<PathBuf>,
}

/// The module of a file that has our two lines, alike, and no other line that libpam reads.
fn named(text: &str) -> Option<Named> {
    let mut kinds = Vec::new();
    let mut named: Option<Named> = None;
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default();
        let words: Vec<&str> = line.split_whitespace().collect();
        let (kind, module, conf) = match words.as_slice() {
            [] => continue,
            [kind, "required", module] => (*kind, *module, None),
            [kind, "required", module, argument] => {
                (*kind, *module, Some(argument.strip_prefix("conf=")?.into()))
            }
            _ => return None,
        };
        let this = Named {
            module: module.to_owned(),
            conf,
        };
        if Path::new(module).file_name()? != MODULE
            || named.as_ref().is_some_and(|named| *named != this)
        {
            return None;
        }
        kinds.push(kind);
        named = Some(this);
    }
    kinds.sort_unstable();
    named.filter(|_| kinds == ["account", "auth"])
}

/// As libpam finds a module: a name without a slash at the beginning is in its own directory.
fn find(module: &str) -> Option<PathBuf> {
    if module.starts_with('/') {
        return Some(PathBuf::from(module)).filter(|path| path.is_file());
    }
    let entries = fs::read_dir("/lib").into_iter().flatten().flatten();
    let of_architectures = entries
        .map(|entry| entry.path())
        .filter(|path| path.to_string_lossy().ends_with("-linux-gnu"));
    DIRECTORIES
        .iter()
        .map(PathBuf::from)
        .chain(of_architectures)
        .map(|directory| directory.join("security").join(module))
        .find(|path| path.is_file())
}

#[cfg(test)]
mod tests;
