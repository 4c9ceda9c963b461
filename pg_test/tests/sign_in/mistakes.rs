//! What administrators and users get wrong at first, on a real server: what the client reads, and what `aadauth.why` and
//! `aadauth.check_configuration` say. What is expected of each is in mistakes/table.md.

mod configuration;
mod principals;
mod said;
mod table;

use std::collections::BTreeSet;

use pg_test::emulator::AUDIENCE;
use pg_test::route::Route;
use pg_test::server::Server;
use pg_test::wait::until;
use pg_test::{Result, pam};
use uuid::Uuid;

use crate::Test;
use crate::check_configuration::codes;
use crate::rig::{Rig, ensure};
use table::Row;

pub const TESTS: &[Test] = &[("each_is_told_as_the_document_says", each)];

/// How many there are: the rows of the document begin with their numbers.
const MISTAKES: u32 = 24;

/// A role that has been mapped as it should be.
const SOMEONE: &str = "someone";

/// The server on which the mistakes are made one after the other, and what the document says of them.
struct Mistakes<'a> {
    rig: &'a Rig,
    server: Server,
    /// What the server sees as `/etc/pam.d`.
    services: pam::Directory,
    rows: Vec<Row>,
    made: BTreeSet<String>,
    codes: BTreeSet<String>,
    /// Where the server did not say what the document says.
    differences: Vec<String>,
    someone: Uuid,
}

fn each(rig: &Rig) -> Result<()> {
    let mut mistakes = Mistakes::begin(rig)?;
    principals::mistakes(&mut mistakes)?;
    configuration::mistakes(&mut mistakes)?;
    if Route::of_environment()? == Route::Pam {
        configuration::of_pam(&mut mistakes)?;
    }
    mistakes.end()
}

impl<'a> Mistakes<'a> {
    /// Starts a server that could ask a directory, with which nothing is wrong but that its authority is an emulator.
    fn begin(rig: &'a Rig) -> Result<Mistakes<'a>> {
        let services = rig.pam_directory("mistakes")?;
        let plan = rig.plan_asking("mistakes", &rig.emulator)?;
        let plan = plan.set("aadauth.credential", "none").pam(&services);
        let server = rig.start_prepared(plan)?;
        let someone = rig.person(&server, SOMEONE)?.object_id;
        let mistakes = Mistakes {
            rig,
            server,
            services,
            rows: table::read()?,
            made: BTreeSet::new(),
            codes: codes()?,
            differences: Vec::new(),
            someone,
        };
        mistakes.nothing_is_wrong()?;
        Ok(mistakes)
    }

    fn nothing_is_wrong(&self) -> Result<()> {
        until("nothing is wrong with the server", || {
            Ok(self.found()?.is_empty().then_some(()))
        })?;
        let token = self.token()?;
        self.rig.accepted(&self.server, SOMEONE, &token).map(drop)
    }

    /// A good token for [`SOMEONE`].
    fn token(&self) -> Result<String> {
        self.token_for(AUDIENCE)
    }

    fn token_for(&self, audience: &str) -> Result<String> {
        let token = self.rig.user("alice@contoso.com").audience(audience);
        token.object_id(self.someone).text()
    }

    /// Makes a mistake in the settings, tries to sign in, and undoes it.
    fn with_settings(&mut self, number: &str, settings: &[(&str, Option<&str>)]) -> Result<()> {
        let before = self.server.plan().settings.clone();
        self.server.configure(settings)?;
        let token = self.token()?;
        self.made(number, SOMEONE, &token)?;
        let undo: Vec<(&str, Option<&str>)> = settings
            .iter()
            .map(|(name, _)| (*name, before.get(*name).map(String::as_str)))
            .collect();
        self.server.configure(&undo)
    }

    /// Makes a mistake in pg_hba.conf, tries to sign in, and undoes it.
    fn with_lines(&mut self, number: &str, lines: &[&str]) -> Result<()> {
        self.server.set_hba(lines)?;
        let token = self.token()?;
        self.made(number, SOMEONE, &token)?;
        self.server.set_hba(&crate::rig::OUR_LINES)
    }

    /// Tries to sign in after the mistake of that number, and compares what is said of it with the document.
    fn made(&mut self, number: &str, role: &str, secret: &str) -> Result<()> {
        self.made_with(number, role, secret, true)
    }

    fn made_with(&mut self, number: &str, role: &str, secret: &str, tls: bool) -> Result<()> {
        let row = self.rows.iter().find(|row| row.number == number).cloned();
        let row = row.ok_or_else(|| format!("mistakes/table.md has no mistake {number}"))?;
        self.made.insert(number.to_owned());
        let (read, mark) = self.client_reads(role, secret, tls)?;
        let cells = [
            ("the client", &row.client, read.clone()),
            ("why", &row.why, self.why(role, &mark, read.is_some())?),
            ("check_configuration", &row.check, self.check(&row)?),
        ];
        for (who, expected, said) in cells {
            let is_said = match &said {
                Some(said) => {
                    !expected.is_empty() && expected.iter().all(|part| said.contains(part.as_str()))
                }
                None => expected.is_empty(),
            };
            if !is_said {
                let said = said.unwrap_or_else(|| "nothing".to_owned());
                self.differences.push(format!(
                    "{number} ({}): {who}: the document has {expected:?}, but said was:\n{said}",
                    row.mistake
                ));
            }
        }
        Ok(())
    }

    /// Every mistake of the document was made, and each of them is told as it says.
    fn end(self) -> Result<()> {
        let is_of_pam = |row: &&Row| configuration::OF_PAM.contains(&row.number.as_str());
        let is_pam = Route::of_environment()? == Route::Pam;
        let rows = self.rows.iter().filter(|row| is_pam || !is_of_pam(row));
        let expected: BTreeSet<String> = rows.map(|row| row.number.clone()).collect();
        ensure(self.made == expected, || {
            format!("made: {:?}, in the document: {expected:?}", self.made)
        })?;
        let numbers: BTreeSet<u32> = self.rows.iter().filter_map(Row::whole_number).collect();
        ensure(numbers == (1..=MISTAKES).collect(), || {
            format!("not {MISTAKES} mistakes: {numbers:?}")
        })?;
        ensure(self.differences.is_empty(), || {
            self.differences.join("\n\n")
        })
    }
}
