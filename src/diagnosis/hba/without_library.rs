//! The records that apply if the library is not loaded: those of the server's own `pg_hba.conf`.

use std::error::Error;

use super::file::File;
use super::rule::{Login, Rule};
use crate::diagnosis::finding::{Code, Finding};
use crate::pg::{hba_file, oauth, pam};

/// What to write into the server's own `pg_hba.conf` beside the alternate HBA file.
const REJECT: &str = "Let this file reject everyone but the administrator: after \"local all postgres peer\", add \
     \"local all,replication all reject\" and \"host all,replication all all reject\" above the other records.";

/// The server's own `pg_hba.conf`, if the alternate HBA file is used; `Err` if it cannot be read.
pub fn own_file() -> Result<Option<Result<File, Finding>>, Box<dyn Error>> {
    let Some(path) = hba_file::server_file() else {
        return Ok(None);
    };
    let place = path.display().to_string();
    // The view would raise an ERROR.
    if let Err(error) = std::fs::File::open(path) {
        return Ok(Some(Err(Finding::new(
            Code::HbaLineInvalid,
            place,
            format!(
                "It cannot be read ({error}). The server does not start if the library is not loaded."
            ),
            REJECT,
        ))));
    }
    let file = hba_file::with_server_file(|| File::of_view(place))?;
    Ok(Some(Ok(file)))
}

impl File {
    /// The records of this file, the server's own `pg_hba.conf`, that would let roles in without a token if the library was
    /// not loaded. Where the file is in force, only those with the method trust are reported: local roles need the others.
    pub(super) fn open_records(&self, roles: &[Login]) -> Vec<Finding> {
        let has_alternate = hba_file::is_set();
        let records: Vec<&Rule> = self.records().collect();
        let mut findings = Vec::new();
        for (index, rule) in records.iter().enumerate() {
            let is_trust = rule.method() == "trust";
            // Without the library, its PAM service and its validator refuse.
            let refuses = rule.method() == "reject"
                || rule.pam_service().is_some_and(pam::is_ours)
                || rule.oauth_validator().is_some_and(oauth::is_ours);
            let mut earlier = records.iter().take(index);
            if refuses
                || !(is_trust || has_alternate)
                || earlier.any(|earlier| earlier.rejects_all_of(rule))
            {
                continue;
            }
            let whom = match rule.affected(roles) {
                Some(whom) => whom,
                None if is_trust && has_alternate => {
                    "every client that names a matching role".to_owned()
                }
                None => continue,
            };
            findings.push(self.open_record(rule, &whom));
        }
        findings
    }

    fn open_record(&self, rule: &Rule, whom: &str) -> Finding {
        let remedy = if hba_file::is_set() {
            REJECT
        } else {
            "Restrict the record to the local roles that it is for, or use another method, and reload."
        };
        Finding::new(
            Code::HbaLineOpenWithoutLibrary,
            self.place(rule),
            format!(
                "If the library is not loaded, line {} ({}) lets in {whom} without a token.",
                rule.line_number,
                rule.method()
            ),
            remedy,
        )
    }
}
