//! One run: every mapped group, one after the other.
//!
//! All of a group's members are listed before anything is changed, so that an interrupted listing revokes
//! nothing.

use std::collections::HashMap;
use std::time::Duration;

use entra_api::{DirectorySettings, Principal};
use uuid::Uuid;

use super::apply::{self, Applied, CHUNK};
use super::eligibility::SkipReason;
use super::fetch::{FetchError, Listed, MemberFetcher, Message};
use super::groups::{self, Group};
use super::history::{self, Change, Entry, Progress, State};
use super::members::Members;
use crate::directory;
use crate::pg::log::{self, Level};
use crate::pg::worker::{self, Failure, FailureKind};

/// How long the worker sleeps at most while it waits for the directory.
const WAIT: Duration = Duration::from_secs(60);
/// After this many failures in a row, the members are not the cause.
const MAX_FAILURES: u32 = 3;

/// Why a run ended early.
#[derive(Debug)]
pub enum RunError {
    /// The worker must stop, or its settings have changed.
    Interrupted,
    /// The worker's own tables cannot be written, or the catalogs cannot be read.
    Database(Failure),
}

/// How a run ended.
#[derive(Debug)]
pub struct Finished {
    /// A group could not be listed or PostgreSQL refused a change: a retry may soon succeed.
    pub has_failed: bool,
}

impl From<Failure> for RunError {
    fn from(failure: Failure) -> RunError {
        RunError::Database(failure)
    }
}

/// The parameters of a run.
pub struct Run<'a> {
    pub settings: &'a DirectorySettings,
    /// The number of the run before.
    pub last: i64,
    /// Whether the run must stop; called only where nothing is half done.
    pub must_stop: &'a mut dyn FnMut() -> bool,
    /// The problem of each group that was logged last; the same one is not logged again.
    pub last_logged: &'a mut HashMap<Uuid, String>,
}

impl Run<'_> {
    /// Calls `begun` with the run's number.
    ///
    /// # Errors
    /// [`RunError`]; changes made so far remain.
    pub fn perform(&mut self, begun: impl FnOnce(i64)) -> Result<Finished, RunError> {
        let (groups, number) = worker::transaction(|| {
            let groups = groups::all();
            let keys: Vec<_> = groups
                .iter()
                .map(|group| (group.tenant(), group.id()))
                .collect();
            Ok((groups, history::begin(&keys, self.last)?))
        })?;
        begun(number);
        let mut has_failed = false;
        let mut fetcher = None;
        let mut unreachable = None;
        for group in &groups {
            let entry = Entry {
                run: number,
                tenant: group.tenant(),
                group: group.id(),
                role: group.name.clone(),
            };
            let mut task = Task {
                entry,
                group,
                progress: Progress::default(),
            };
            let tenant = self.settings.tenant;
            let skip = worker::transaction(|| groups::skip_reason(group, tenant))?;
            if let Some((reason @ SkipReason::OtherTenant, detail)) = &skip {
                task.close(State::Skipped, Some(*reason), Some(detail))?;
                continue;
            }
            let listed = match &unreachable {
                Some(error) => Err(Listed::Failed(FetchError::clone(error))),
                None => self.list(&mut fetcher, &mut task)?,
            };
            if let Err(Listed::Failed(error)) = &listed
                && error.affects_every_group()
            {
                unreachable = Some(error.clone());
            }
            has_failed |= self.finish(&mut task, listed, skip)?;
        }
        Ok(Finished { has_failed })
    }

    /// Lists the members of the task's group. The fetcher is reused for the next group, unless it may still
    /// send messages about this one.
    fn list(
        &mut self,
        kept: &mut Option<MemberFetcher>,
        task: &mut Task<'_>,
    ) -> Result<Result<Members, Listed>, RunError> {
        task.record_progress(State::Listing)?;
        let fetcher = match kept
            .take()
            .map_or_else(|| MemberFetcher::start(self.settings.clone()), Ok)
        {
            Ok(fetcher) => fetcher,
            Err(error) => {
                let message = format!("could not start a thread: {error}");
                return Ok(Err(Listed::Failed(FetchError::new(message))));
            }
        };
        fetcher.request(task.group.id());
        let mut list: Vec<Principal> = Vec::new();
        let listed = loop {
            match fetcher.next() {
                None => worker::wait(WAIT, Some(fetcher.notifier_fd())),
                Some(Message::End(listed)) => break listed,
                Some(Message::Page(page)) => {
                    list.extend(page);
                    task.progress.seen = list.len();
                }
            }
            self.check_interrupted()?;
        };
        *kept = Some(fetcher);
        Ok(match listed {
            Listed::Complete => Ok(Members::new(list)),
            listed => Err(listed),
        })
    }

    /// Applies the listing; `true` when a retry may soon succeed.
    ///
    /// With a reason to skip the group, the group role is granted to nobody, and still revoked from those
    /// who have left.
    fn finish(
        &mut self,
        task: &mut Task<'_>,
        listed: Result<Members, Listed>,
        skip: Option<(SkipReason, String)>,
    ) -> Result<bool, RunError> {
        let (members, is_gone) = match listed {
            Ok(members) => (members, false),
            Err(Listed::Failed(error)) => {
                let problem = &error.message;
                task.close(
                    State::Failed,
                    Some(SkipReason::ListingFailed),
                    Some(problem),
                )?;
                self.log_failure(task.group, problem, error.hint());
                return Ok(error.is_transient());
            }
            Err(Listed::NoGroup | Listed::Complete) => (Members::none(), true),
        };
        // What the cache has about the group is older than this.
        directory::forget_group(task.group.id());
        task.progress.seen = members.as_slice().len();
        let problem = match self.apply(task, &members, skip.is_none()) {
            Ok(()) => None,
            Err(RunError::Database(failure)) => Some(failure.message),
            Err(interrupted) => return Err(interrupted),
        };
        if let Some(problem) = problem {
            task.close(State::Failed, Some(SkipReason::Failed), Some(&problem))?;
            let hint = "Changes made so far remain; the next run continues.";
            self.log_failure(task.group, &problem, Some(hint));
            return Ok(true);
        }
        match skip {
            _ if is_gone => {
                let detail = "The directory has no group with this object id.";
                task.close(State::Done, Some(SkipReason::GroupNotFound), Some(detail))?;
            }
            Some((reason, detail)) => {
                task.close(State::Skipped, Some(reason), Some(&detail))?;
            }
            None => task.close(State::Done, None, None)?,
        }
        self.last_logged.remove(&task.group.id());
        task.log_changes();
        Ok(false)
    }

    /// Logs the problem, unless it is the one that was logged last for the group.
    fn log_failure(&mut self, group: &Group, problem: &str, hint: Option<&str>) {
        if self
            .last_logged
            .get(&group.id())
            .is_some_and(|logged| logged == problem)
        {
            return;
        }
        let message = format!("group sync of \"{}\" failed: {problem}", group.name);
        log::line(Level::Warning, &message, None, hint);
        self.last_logged.insert(group.id(), problem.to_owned());
    }

    /// Revokes the group role from those who have left; then, if `grants`, creates and grants for members.
    fn apply(
        &mut self,
        task: &mut Task<'_>,
        members: &Members,
        grants: bool,
    ) -> Result<(), RunError> {
        let plan = apply::plan(task.group, members)?;
        task.progress.done = members.as_slice().len() - plan.incomplete.len();
        task.record_progress(State::Changing)?;
        for leavers in plan.leavers.chunks(CHUNK) {
            self.check_interrupted()?;
            let applied = apply::revoke(&task.entry, task.group, members, leavers, &task.progress);
            match applied {
                Ok(applied) => task.accept(applied)?,
                Err(_) => self.revoke_one_by_one(task, members, leavers)?,
            }
        }
        if !grants {
            return Ok(());
        }
        for incomplete in plan.incomplete.chunks(CHUNK) {
            self.check_interrupted()?;
            let list = members.as_slice();
            let incomplete: Vec<&Principal> = incomplete
                .iter()
                .filter_map(|index| list.get(*index))
                .collect();
            let applied = apply::grant(&task.entry, task.group, &incomplete, &task.progress);
            match applied {
                Ok(applied) => task.accept(applied)?,
                Err(_) => self.grant_one_by_one(task, &incomplete)?,
            }
        }
        Ok(())
    }

    /// After a chunk has failed: one member at a time, so that only the one that causes it is left out.
    fn grant_one_by_one(
        &mut self,
        task: &mut Task<'_>,
        members: &[&Principal],
    ) -> Result<(), RunError> {
        let mut failures = 0;
        for member in members {
            self.check_interrupted()?;
            let (entry, group) = (&task.entry, task.group);
            let applied = match apply::grant(entry, group, &[member], &task.progress) {
                Ok(applied) => {
                    failures = 0;
                    applied
                }
                Err(failure) => {
                    failures += 1;
                    if failures == MAX_FAILURES {
                        return Err(failure.into());
                    }
                    apply::record_failure(entry, member, &failure.message, &task.progress)?
                }
            };
            task.accept(applied)?;
        }
        Ok(())
    }

    /// As [`grant_one_by_one`](Self::grant_one_by_one). A role whose revocation fails keeps the group role,
    /// and the group has failed.
    fn revoke_one_by_one(
        &mut self,
        task: &mut Task<'_>,
        members: &Members,
        leavers: &[pgrx::pg_sys::Oid],
    ) -> Result<(), RunError> {
        let mut failed = None;
        let mut failures = 0;
        for leaver in leavers {
            self.check_interrupted()?;
            match apply::revoke(&task.entry, task.group, members, &[*leaver], &task.progress) {
                Ok(applied) => {
                    failures = 0;
                    task.accept(applied)?;
                }
                Err(failure) => {
                    failures += 1;
                    failed = Some(failure);
                }
            }
            if failures == MAX_FAILURES {
                break;
            }
        }
        failed.map_or(Ok(()), |failure| Err(failure.into()))
    }

    fn check_interrupted(&mut self) -> Result<(), RunError> {
        if (self.must_stop)() {
            return Err(RunError::Interrupted);
        }
        Ok(())
    }
}

/// One group in one run.
struct Task<'a> {
    entry: Entry,
    group: &'a Group,
    progress: Progress,
}

impl Task<'_> {
    fn record_progress(&self, state: State) -> Result<(), Failure> {
        worker::transaction(|| history::record_progress(&self.entry, state, &self.progress, None))
    }

    fn accept(&mut self, applied: Applied) -> Result<(), Failure> {
        match applied {
            Applied::Changed(progress) => {
                self.progress = progress;
                Ok(())
            }
            Applied::GroupChanged => Err(Failure {
                message: "the group's role was changed during the run".to_owned(),
                kind: FailureKind::Other,
            }),
        }
    }

    fn close(
        &self,
        state: State,
        reason: Option<SkipReason>,
        problem: Option<&str>,
    ) -> Result<(), Failure> {
        let change = reason.map(|reason| Change::of_group(reason, problem.unwrap_or_default()));
        worker::transaction(|| {
            history::record_changes(&self.entry, change.as_slice())?;
            history::record_progress(&self.entry, state, &self.progress, problem)
        })
    }

    /// Logs the changes, if there are any.
    fn log_changes(&self) {
        let Progress {
            created,
            granted,
            revoked,
            ..
        } = self.progress;
        if created + granted + revoked > 0 {
            let message = format!(
                "group sync of \"{}\": {created} roles created, {granted} granted, {revoked} revoked",
                self.group.name
            );
            log::line(Level::Log, &message, None, None);
        }
    }
}
