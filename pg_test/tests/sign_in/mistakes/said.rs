//! What is said of a mistake, and to whom.

use std::collections::BTreeSet;

use pg_test::Result;
use pg_test::wait::until;
use pg_test::wire::{Outcome, Request};
use serde_json::Value;

use super::Mistakes;
use super::table::Row;
use crate::check_configuration::{Finding, findings};
use crate::rig::ensure;

impl Mistakes<'_> {
    /// What the client is told, if it is not let in, and its mark in the audit.
    pub fn client_reads(
        &self,
        role: &str,
        secret: &str,
        tls: bool,
    ) -> Result<(Option<String>, String)> {
        let tls = tls.then_some(&self.rig.tls);
        let parameters = [("database", "postgres")];
        let (mut connection, mark) = self
            .rig
            .connect_with(&self.server, role, tls, &parameters)?;
        let outcome = match connection.request()? {
            Request::Password => {
                connection.password(secret.as_bytes())?;
                connection.outcome()?
            }
            Request::Sasl(_) => connection.scram(secret.as_bytes(), || Ok(()))?,
            Request::Refused(refusal) => Outcome::Refused(refusal),
            other => return Err(format!("the server asked for {other:?}").into()),
        };
        match outcome {
            Outcome::In => Ok((None, mark)),
            Outcome::Refused(refusal) => Ok((Some(refusal.message), mark)),
            Outcome::Closed => Err("the server said nothing".into()),
        }
    }

    /// What `aadauth.why` says of the refusal, if one is recorded, or the error that it ends with.
    pub fn why(&self, role: &str, mark: &str, is_refused: bool) -> Result<Option<String>> {
        let recorded = format!(
            "SELECT coalesce(json_agg(event_id), '[]') FROM aadauth.sign_in_audit
             WHERE aadauth.await_sign_ins() AND outcome = 'refused' AND application_name = '{mark}'"
        );
        let recorded = match self.server.sql(&recorded) {
            Ok(recorded) => serde_json::from_str::<Vec<String>>(&recorded)?,
            Err(error) => return Ok(Some(error.to_string())),
        };
        let [event] = &recorded[..] else {
            ensure(recorded.is_empty(), || format!("{recorded:?}"))?;
            return Ok(None);
        };
        ensure(is_refused, || "recorded as refused, and let in".to_owned())?;
        let said = self.server.sql(&format!(
            "SELECT json_agg(concat_ws(E'\n', reason, expected, got, remedy))
             FROM aadauth.why('{role}') WHERE event_id = '{event}'"
        ))?;
        let said: Value = serde_json::from_str(&said)?;
        Ok(said[0].as_str().map(str::to_owned))
    }

    /// What `aadauth.check_configuration` says once it has the findings of that row and no others.
    pub fn check(&self, row: &Row) -> Result<Option<String>> {
        let expected: BTreeSet<&String> = row
            .check
            .iter()
            .filter(|c| self.codes.contains(*c))
            .collect();
        let mut said = None;
        let met = until(&format!("the findings of mistake {}", row.number), || {
            let found = match self.found() {
                Ok(found) => found,
                Err(error) => {
                    said = Some(error.to_string());
                    return Ok(Some(()));
                }
            };
            let lines = found
                .iter()
                .map(|finding| format!("{}: {}", finding.code, finding.text));
            let lines: Vec<String> = lines.collect();
            said = (!lines.is_empty()).then(|| lines.join("\n"));
            let codes: BTreeSet<&String> = found.iter().map(|finding| &finding.code).collect();
            Ok((codes == expected).then_some(()))
        });
        match (met, &said) {
            (Err(error), None) => Err(error),
            (Err(error), Some(said)) => Err(format!("{error}; said was:\n{said}").into()),
            (Ok(()), _) => Ok(said),
        }
    }

    /// The findings that are not the emulator's fault.
    pub fn found(&self) -> Result<Vec<Finding>> {
        let mut findings = findings(&self.server)?;
        findings.retain(|finding| finding.code != "authority-not-microsoft");
        Ok(findings)
    }
}
