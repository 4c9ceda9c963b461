//! The members of a group, page by page.

use std::collections::HashSet;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use entra_api::{DirectoryError, ErrorKind, Principal};
use entra_token::PrincipalKind;
use reqwest::header::{HeaderName, HeaderValue};
use serde::Deserialize;
use uuid::Uuid;

use crate::answer::{self, Object, Page, permission, properties};
use crate::graph::{Graph, RetryPolicy};
use crate::http::Request;

/// For the whole list, pauses included. 50,000 members are 51 pages.
const TOTAL: Duration = Duration::from_secs(30 * 60);
/// What Graph gives at most.
const PAGE: usize = 999;
/// How many members one group may have; keeps the memory in bounds.
const MOST: usize = 500_000;
/// How many pages in a row may bring nothing new: a list that leads in a circle ends here.
const BARREN: u32 = 50;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct GroupTypes {
    id: Uuid,
    group_types: Vec<String>,
}

/// One reading of a group's members.
pub(crate) struct Members<'a> {
    graph: &'a Graph,
    group: Uuid,
    policy: RetryPolicy<'a>,
    page: &'a mut dyn FnMut(Vec<Principal>) -> bool,
    seen: HashSet<Uuid>,
}

impl<'a> Members<'a> {
    pub(crate) fn new(
        graph: &'a Graph,
        group: Uuid,
        stop: &'a AtomicBool,
        page: &'a mut dyn FnMut(Vec<Principal>) -> bool,
    ) -> Members<'a> {
        Members {
            graph,
            group,
            policy: RetryPolicy::in_background(Instant::now() + TOTAL, stop),
            page,
            seen: HashSet::new(),
        }
    }

    /// Reads two lists. That of all kinds has the users, as the directory has them at this moment,
    /// but no service principals; those are in a list of their own, which Graph makes from an index
    /// and only for those who say that they know.
    /// <https://learn.microsoft.com/graph/api/group-list-transitivemembers>
    pub(crate) fn all(mut self) -> Result<(), DirectoryError> {
        let members = format!(
            "{}/v1.0/groups/{}/transitiveMembers",
            self.graph.origin, self.group
        );
        // What either kind needs: should Graph begin to list service principals here, they are members.
        let all = "id,userPrincipalName,displayName,appId,accountEnabled";
        self.list(format!("{members}?$select={all}&$top={PAGE}"), None)?;
        let services = properties(PrincipalKind::Service);
        let url = format!(
            "{members}/microsoft.graph.servicePrincipal?$count=true&$select={services}&$top={PAGE}"
        );
        self.list(url, Some(PrincipalKind::Service))
    }

    /// Reads a list: of one kind, or of every kind, where each object names its own.
    fn list(&mut self, first: String, kind: Option<PrincipalKind>) -> Result<(), DirectoryError> {
        let mut url = first;
        let mut barren = 0;
        loop {
            self.go_on(!self.policy.is_stopped())?;
            let mut request = Request::get(url);
            if kind.is_some() {
                request = request.header(
                    HeaderName::from_static("consistencylevel"),
                    HeaderValue::from_static("eventual"),
                );
            }
            let permission = permission(PrincipalKind::Group);
            let response = match self.graph.ask(&request, permission, &self.policy) {
                Err(failure)
                    if kind.is_some()
                        && failure.code.as_deref() == Some("Request_UnsupportedQuery")
                        && self.has_users_alone()? =>
                {
                    return Ok(());
                }
                other => other?,
            };
            let page: Page<Object> =
                answer::parse(&response).map_err(|what| self.graph.malformed(what))?;
            let (members, is_barren) = self.read(page.value, kind)?;
            barren = if is_barren { barren + 1 } else { 0 };
            if !members.is_empty() {
                let goes_on = (self.page)(members);
                self.go_on(goes_on)?;
            }
            let Some(next) = page.next else {
                return Ok(());
            };
            url = answer::next_page(&next, &self.graph.origin)
                .ok_or_else(|| self.graph.malformed("goes on elsewhere"))?;
            if barren >= BARREN {
                return Err(self.graph.malformed("goes on without end"));
            }
        }
    }

    /// Whether the group is one of Microsoft 365, whose members can be of no other kind. Graph refuses to
    /// list service principals of such a group, by an error that can mean anything else as well.
    /// <https://learn.microsoft.com/graph/api/resources/groups-overview>
    fn has_users_alone(&self) -> Result<bool, DirectoryError> {
        let url = format!(
            "{}/v1.0/groups/{}?$select=id,groupTypes",
            self.graph.origin, self.group
        );
        let permission = permission(PrincipalKind::Group);
        let response = self
            .graph
            .ask(&Request::get(url), permission, &self.policy)?;
        let group: GroupTypes =
            answer::parse(&response).map_err(|what| self.graph.malformed(what))?;
        Ok(group.id == self.group && group.group_types.iter().any(|one| one == "Unified"))
    }

    /// The members of a page that have not been seen before, and whether it had nothing else either.
    fn read(
        &mut self,
        objects: Vec<Object>,
        kind: Option<PrincipalKind>,
    ) -> Result<(Vec<Principal>, bool), DirectoryError> {
        let mut members = Vec::new();
        let mut is_barren = true;
        for object in objects {
            let kind = object.kind(kind).map_err(|flaw| self.graph.flaw(flaw))?;
            let Some(kind @ (PrincipalKind::User | PrincipalKind::Service)) = kind else {
                is_barren = false;
                continue;
            };
            let member = object
                .principal(kind)
                .map_err(|flaw| self.graph.flaw(flaw))?;
            if self.seen.insert(member.object_id) {
                is_barren = false;
                members.push(member);
            }
        }
        match self.seen.len() > MOST {
            true => Err(self.graph.malformed("has more than 500000 members")),
            false => Ok((members, is_barren)),
        }
    }

    fn go_on(&self, goes_on: bool) -> Result<(), DirectoryError> {
        if goes_on {
            return Ok(());
        }
        let message = format!("reading the members of group {} was stopped", self.group);
        Err(DirectoryError::new(ErrorKind::TimedOut, message))
    }
}
