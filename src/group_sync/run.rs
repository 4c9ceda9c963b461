//! One run: every mapped group, one after the other.
//!
//! A group's members are listed to the end before anything is changed, so that a listing which breaks
//! off takes no rights from anybody.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use entra_api::{DirectorySettings, Principal};
use uuid::Uuid;

use super::apply::{self, CHUNK, Settled};
use super::eligibility::Obstacle;
use super::fetch::{Listed, Lister, News, Trouble};
use super::groups::{self, Group};
use super::history::{self, Change, Entry, State, Tally};
use super::members::{self, Members};
use crate::directory;
use crate::pg::log::{self, Level};
use crate::pg::worker::{self, Failure};

/// How often the progress of a listing is written down.
const PROGRESS: Duration = Duration::from_millis(500);
/// How often the worker looks up while it waits for the directory.
const LOOK_UP: Duration = Duration::from_secs(60);
/// After so many members in a row whom PostgreSQL refused, the trouble is not with them.
const MOST_FAILURES: u32 = 3;

/// Why a run has ended early.
#[derive(Debug)]
pub enum Broken {
    /// The worker is to end, or its settings have changed.
    Interrupted,
    /// The worker's own tables can't be written, or the catalogs can't be read.
    Database(Failure),
}

/// How a run has ended.
#[derive(Debug)]
pub struct Finished {
    /// The directory could not be asked about every group, or PostgreSQL refused: trying again soon may
    /// help.
    pub has_failed: bool,
}

impl From<Failure> for Broken {
    fn from(failure: Failure) -> Broken {
        Broken::Database(failure)
    }
}

/// What a run needs of its surroundings.
pub struct Run<'a> {
    pub settings: &'a DirectorySettings,
    /// The number of the run before.
    pub last: i64,
    /// Whether the run is to end, at a point where nothing is half done.
    pub is_over: &'a mut dyn FnMut() -> bool,
    /// The problem of each group that is in the log; the same one is not written again.
    pub said: &'a mut HashMap<Uuid, String>,
}

impl Run<'_> {
    /// `begun` is told the run's number.
    ///
    /// # Errors
    /// [`Broken`]; what has been done so far stays done.
    pub fn perform(&mut self, begun: impl FnOnce(i64)) -> Result<Finished, Broken> {
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
        let mut lister = None;
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
                tally: Tally::default(),
            };
            let tenant = self.settings.tenant;
            let obstacle = worker::transaction(|| groups::obstacle(group, tenant))?;
            if let Some((obstacle @ Obstacle::OtherTenant, detail)) = &obstacle {
                task.close(State::Skipped, Some(*obstacle), Some(detail))?;
                continue;
            }
            let listed = match &unreachable {
                Some(trouble) => Err(Listed::Failed(Trouble::clone(trouble))),
                None => self.list(&mut lister, &mut task)?,
            };
            if let Err(Listed::Failed(trouble)) = &listed
                && trouble.is_general()
            {
                unreachable = Some(trouble.clone());
            }
            has_failed |= self.conclude(&mut task, listed, obstacle)?;
        }
        Ok(Finished { has_failed })
    }

    /// Lists the members of the task's group. The lister is kept for the next one, unless it may go on
    /// about this one.
    fn list(
        &mut self,
        kept: &mut Option<Lister>,
        task: &mut Task<'_>,
    ) -> Result<Result<Members, Listed>, Broken> {
        task.progress(State::Listing)?;
        let lister = match kept
            .take()
            .map_or_else(|| Lister::start(self.settings.clone()), Ok)
        {
            Ok(lister) => lister,
            Err(error) => {
                let message = format!("no thread can be started: {error}");
                return Ok(Err(Listed::Failed(Trouble::new(message))));
            }
        };
        lister.ask(task.group.id());
        let mut list: Vec<Principal> = Vec::new();
        let mut written = Instant::now();
        let listed = loop {
            match lister.next() {
                None => worker::wait(LOOK_UP, Some(lister.bell())),
                Some(News::End(listed)) => break listed,
                Some(News::Page(page)) => {
                    list.extend(page);
                    if list.len() > members::MOST {
                        let most = members::MOST;
                        let message = format!("the group has more than {most} members");
                        return Ok(Err(Listed::Failed(Trouble::new(message))));
                    }
                    task.tally.seen = list.len();
                    if written.elapsed() >= PROGRESS {
                        task.progress(State::Listing)?;
                        written = Instant::now();
                    }
                }
            }
            self.go_on()?;
        };
        *kept = Some(lister);
        Ok(match listed {
            Listed::Whole => Ok(Members::new(list)),
            listed => Err(listed),
        })
    }

    /// Does what the listing asks for; `true` when trying again soon may help.
    ///
    /// With an obstacle nobody is given the group role, and those who have left lose it all the same.
    fn conclude(
        &mut self,
        task: &mut Task<'_>,
        listed: Result<Members, Listed>,
        obstacle: Option<(Obstacle, String)>,
    ) -> Result<bool, Broken> {
        let (members, is_gone) = match listed {
            Ok(members) => (members, false),
            Err(Listed::Failed(trouble)) => {
                let problem = &trouble.message;
                task.close(State::Failed, Some(Obstacle::ListingFailed), Some(problem))?;
                self.warn(task.group, problem, trouble.hint());
                return Ok(trouble.is_passing());
            }
            Err(Listed::NoGroup | Listed::Whole) => (Members::none(), true),
        };
        // What sign-ins remember of the group is older than this.
        directory::forget_group(task.group.id());
        task.tally.seen = members.as_slice().len();
        let problem = match self.settle(task, &members, obstacle.is_none()) {
            Ok(()) => None,
            Err(Broken::Database(failure)) => Some(failure.message),
            Err(interrupted) => return Err(interrupted),
        };
        if let Some(problem) = problem {
            task.close(State::Failed, Some(Obstacle::Failed), Some(&problem))?;
            let hint = "What has been done so far stays; the next run goes on.";
            self.warn(task.group, &problem, Some(hint));
            return Ok(true);
        }
        match obstacle {
            _ if is_gone => {
                let detail = "The directory has no group with this object id.";
                task.close(State::Done, Some(Obstacle::GroupNotFound), Some(detail))?;
            }
            Some((obstacle, detail)) => {
                task.close(State::Skipped, Some(obstacle), Some(&detail))?;
            }
            None => task.close(State::Done, None, None)?,
        }
        self.said.remove(&task.group.id());
        task.tell();
        Ok(false)
    }

    /// Writes the problem to the log, unless it was the group's last time already.
    fn warn(&mut self, group: &Group, problem: &str, hint: Option<&str>) {
        if self
            .said
            .get(&group.id())
            .is_some_and(|said| said == problem)
        {
            return;
        }
        let message = format!("group sync of \"{}\" failed: {problem}", group.name);
        log::line(Level::Warning, &message, None, hint);
        self.said.insert(group.id(), problem.to_owned());
    }

    /// Takes the group role from those who have left, then provides for members, if that is wanted.
    fn settle(
        &mut self,
        task: &mut Task<'_>,
        members: &Members,
        provides: bool,
    ) -> Result<(), Broken> {
        let survey = apply::survey(task.group, members)?;
        task.tally.done = members.as_slice().len() - survey.wanting.len();
        task.progress(State::Changing)?;
        for leavers in survey.leavers.chunks(CHUNK) {
            self.go_on()?;
            let settled = apply::revoke(&task.entry, task.group, members, leavers, &task.tally);
            match settled {
                Ok(settled) => task.take(settled)?,
                Err(_) => self.revoke_singly(task, members, leavers)?,
            }
        }
        if !provides {
            return Ok(());
        }
        for wanting in survey.wanting.chunks(CHUNK) {
            self.go_on()?;
            let list = members.as_slice();
            let wanting: Vec<&Principal> = wanting
                .iter()
                .filter_map(|place| list.get(*place))
                .collect();
            let settled = apply::provide(&task.entry, task.group, &wanting, &task.tally);
            match settled {
                Ok(settled) => task.take(settled)?,
                Err(_) => self.provide_singly(task, &wanting)?,
            }
        }
        Ok(())
    }

    /// After a failure of all together: one at a time, so that only the one who causes it goes without.
    fn provide_singly(
        &mut self,
        task: &mut Task<'_>,
        members: &[&Principal],
    ) -> Result<(), Broken> {
        let mut failures = 0;
        for member in members {
            self.go_on()?;
            let (entry, group) = (&task.entry, task.group);
            let settled = match apply::provide(entry, group, &[member], &task.tally) {
                Ok(settled) => {
                    failures = 0;
                    settled
                }
                Err(failure) => {
                    failures += 1;
                    if failures == MOST_FAILURES {
                        return Err(failure.into());
                    }
                    apply::give_up(entry, member, &failure.message, &task.tally)?
                }
            };
            task.take(settled)?;
        }
        Ok(())
    }

    /// As [`provide_singly`](Self::provide_singly). Who can't be dealt with keeps the group role, and the
    /// group has failed.
    fn revoke_singly(
        &mut self,
        task: &mut Task<'_>,
        members: &Members,
        leavers: &[pgrx::pg_sys::Oid],
    ) -> Result<(), Broken> {
        let mut failed = None;
        let mut failures = 0;
        for leaver in leavers {
            self.go_on()?;
            match apply::revoke(&task.entry, task.group, members, &[*leaver], &task.tally) {
                Ok(settled) => {
                    failures = 0;
                    task.take(settled)?;
                }
                Err(failure) => {
                    failures += 1;
                    failed = Some(failure);
                }
            }
            if failures == MOST_FAILURES {
                break;
            }
        }
        failed.map_or(Ok(()), |failure| Err(failure.into()))
    }

    fn go_on(&mut self) -> Result<(), Broken> {
        if (self.is_over)() {
            return Err(Broken::Interrupted);
        }
        Ok(())
    }
}

/// One group in one run.
struct Task<'a> {
    entry: Entry,
    group: &'a Group,
    tally: Tally,
}

impl Task<'_> {
    fn progress(&self, state: State) -> Result<(), Failure> {
        worker::transaction(|| history::progress(&self.entry, state, &self.tally, None))
    }

    fn take(&mut self, settled: Settled) -> Result<(), Failure> {
        match settled {
            Settled::Changed(tally) => {
                self.tally = tally;
                Ok(())
            }
            Settled::GroupChanged => Err(Failure {
                message: "the group's role was changed in the middle of the run".to_owned(),
                is_data: false,
            }),
        }
    }

    fn close(
        &self,
        state: State,
        obstacle: Option<Obstacle>,
        problem: Option<&str>,
    ) -> Result<(), Failure> {
        let change =
            obstacle.map(|obstacle| Change::of_group(obstacle, problem.unwrap_or_default()));
        worker::transaction(|| {
            history::changes(&self.entry, change.as_slice())?;
            history::progress(&self.entry, state, &self.tally, problem)
        })
    }

    /// A line for the log, if there is something to say.
    fn tell(&self) {
        let Tally {
            created,
            granted,
            revoked,
            ..
        } = self.tally;
        if created + granted + revoked > 0 {
            let message = format!(
                "group sync of \"{}\": {created} roles created, {granted} granted, {revoked} revoked",
                self.group.name
            );
            log::line(Level::Log, &message, None, None);
        }
    }
}
