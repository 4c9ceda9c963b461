//! The questions that the server asks of a directory.

use std::num::NonZero;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::Instant;

use entra_api::error::one_line;
use entra_api::wiped::encode;
use entra_api::{DirectoryError, DirectorySettings, ErrorKind, Principal};
use entra_token::{Authority, PrincipalKind};
use serde_json::json;
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::answer::{self, Object, Page, permission, properties};
use crate::credential::Credential;
use crate::failure::Failure;
use crate::graph::{Graph, RetryPolicy};
use crate::http::{Http, Request, Response};
use crate::members::Members;
use crate::token::AppTokens;

/// In the order in which they are named where several are found.
const KINDS: [PrincipalKind; 3] = [
    PrincipalKind::User,
    PrincipalKind::Group,
    PrincipalKind::Service,
];
/// How many principals of a kind are fetched to find out that a name is ambiguous.
const ALIKE: usize = 50;
/// How many of them are named.
const NAMED: usize = 5;

/// A directory, asked by way of Microsoft Graph.
///
/// It holds the token that it asks with and the connections that it asks over; use one for as long
/// as the settings stay the same, from as many threads as there are questions. Creating one starts
/// threads, see [`Http`].
pub struct Directory {
    graph: Graph,
}

impl Directory {
    /// Prepares to ask; nothing is sent yet, and no credential is read.
    ///
    /// With a managed identity the environment decides where it is asked for, as Microsoft's
    /// libraries have it: `IDENTITY_ENDPOINT` with `IDENTITY_HEADER`, or
    /// `AZURE_POD_IDENTITY_AUTHORITY_HOST`.
    ///
    /// # Errors
    ///
    /// The settings can't be used: [`ErrorKind::CredentialUnusable`] without a client id,
    /// [`ErrorKind::Unreachable`] if the file of certificate authorities, the proxy or Graph's origin
    /// is none.
    pub fn new(settings: DirectorySettings) -> Result<Directory, DirectoryError> {
        let unreachable = |message: String| DirectoryError::new(ErrorKind::Unreachable, message);
        Authority::check_host(&settings.graph)
            .map_err(|_| unreachable("aadauth.graph_endpoint is not an origin".to_owned()))?;
        let credential = Credential::for_graph(&settings)?;
        let http = Http::new(&settings.http).map_err(|error| unreachable(error.to_string()))?;
        let issuer = match credential.is_local() {
            true => credential.http(&settings.http)?,
            false => http.clone(),
        };
        Ok(Directory {
            graph: Graph {
                http,
                origin: settings.graph,
                tokens: AppTokens::new(credential, issuer),
            },
        })
    }

    /// The one principal of a name: users by user principal name, guests by the one with `#EXT#`,
    /// groups and service principals by display name, in any case of letters.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`], [`ErrorKind::Ambiguous`], or why there is no answer by `deadline`. An
    /// answer for only one kind is none: another kind may have the same name.
    pub fn find_by_name(&self, name: &str, deadline: Instant) -> Result<Principal, DirectoryError> {
        let shown = one_line(name, 80);
        let missing = || {
            let message =
                format!("the directory has no user, group or service principal named {shown:?}");
            DirectoryError::new(ErrorKind::NotFound, message)
        };
        // A filter can't hold them, and nothing is named so.
        if name.is_empty() || name.len() > 1024 || name.chars().any(char::is_control) {
            return Err(missing());
        }
        let policy = RetryPolicy::until(deadline);
        let lists = side_by_side(|kind| {
            let property = match kind {
                PrincipalKind::User => "userPrincipalName",
                PrincipalKind::Group | PrincipalKind::Service => "displayName",
            };
            self.find(kind, property, name, &policy)
        });
        let mut found = Vec::new();
        let mut are_all = true;
        for list in lists {
            let (principals, is_all) = list?;
            found.extend(principals);
            are_all &= is_all;
        }
        let lower = name.to_lowercase();
        if found.iter().any(|found| found.name.to_lowercase() != lower) {
            return Err(self.graph.malformed("has a principal of another name"));
        }
        match (found.pop(), found.is_empty()) {
            // Who else has the name would be on a page that was not asked for.
            (_, true) if !are_all => Err(self.graph.malformed("goes on without a second match")),
            (None, _) => Err(missing()),
            (Some(only), true) => Ok(only),
            (Some(last), false) => {
                found.push(last);
                Err(ambiguous(&shown, &found, are_all))
            }
        }
    }

    /// The principal with an object id, whatever its kind.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`] if there is none (any more), or why there is no answer by `deadline`.
    pub fn find_by_object_id(
        &self,
        object_id: Uuid,
        deadline: Instant,
    ) -> Result<Principal, DirectoryError> {
        let policy = RetryPolicy::until(deadline);
        // Asking for a directory object of any kind would take the right to read all there is.
        let answers = side_by_side(|kind| {
            let url = format!(
                "{}/{object_id}?$select={}",
                self.list(kind),
                properties(kind)
            );
            let response = match self.ask(url, permission(kind), &policy) {
                Err(failure) if failure.error.kind == ErrorKind::NotFound => return Ok(None),
                other => other?,
            };
            let object: Object = self.parse(&response)?;
            self.principal(object, kind).map(Some)
        });
        let mut found = None;
        for answer in answers {
            if let Some(principal) = answer?
                && (principal.object_id != object_id || found.replace(principal).is_some())
            {
                return Err(self.graph.malformed("is about another principal"));
            }
        }
        found.ok_or_else(|| {
            let message = format!("the directory has no principal with the object id {object_id}");
            DirectoryError::new(ErrorKind::NotFound, message)
        })
    }

    /// The service principal of an application.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`] if it has none in this tenant, or why there is no answer by `deadline`.
    pub fn find_by_app_id(
        &self,
        app_id: Uuid,
        deadline: Instant,
    ) -> Result<Principal, DirectoryError> {
        let policy = RetryPolicy::until(deadline);
        let value = app_id.to_string();
        let (mut found, _) = self.find(PrincipalKind::Service, "appId", &value, &policy)?;
        match (found.pop(), found.is_empty()) {
            (None, _) => {
                let message =
                    format!("the directory has no service principal of the application {app_id}");
                Err(DirectoryError::new(ErrorKind::NotFound, message))
            }
            (Some(only), true) if only.app_id == Some(app_id) => Ok(only),
            _ => Err(self.graph.malformed("is about another principal")),
        }
    }

    /// Whether a principal is a member of a group, be it through other groups.
    ///
    /// A principal or a group that the directory doesn't have (any more) is a member, or has one, no
    /// more: false. A group is not its own member, unless it is one of groups that contain each
    /// other; that is the directory's to say.
    ///
    /// # Errors
    ///
    /// Why there is no answer by `deadline`.
    pub fn is_member(
        &self,
        kind: PrincipalKind,
        member: Uuid,
        group: Uuid,
        deadline: Instant,
    ) -> Result<bool, DirectoryError> {
        let permission = match kind {
            PrincipalKind::User => "User.Read.All and GroupMember.Read.All",
            PrincipalKind::Group | PrincipalKind::Service => permission(kind),
        };
        let url = format!("{}/{member}/checkMemberGroups", self.list(kind));
        let body = Zeroizing::new(json!({ "groupIds": [group] }).to_string().into_bytes());
        let request = Request::post(url, "application/json", body);
        let policy = RetryPolicy::until(deadline);
        let response = match self.graph.ask(&request, permission, &policy) {
            Err(failure) if failure.error.kind == ErrorKind::NotFound => return Ok(false),
            other => other?,
        };
        answer::says_member(&response, group).map_err(|what| self.graph.malformed(what))
    }

    /// Hands over the members of a group, those of groups in it included, page by page: users and
    /// service principals, each once, also those that may not sign in.
    ///
    /// `page` returns whether to go on; `stop` is looked at between requests and in pauses.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`] if there is no such group (any more), or why there is no complete list:
    /// also when it was stopped. What came before an error is part of the list only.
    pub fn members(
        &self,
        group: Uuid,
        stop: &AtomicBool,
        page: &mut dyn FnMut(Vec<Principal>) -> bool,
    ) -> Result<(), DirectoryError> {
        Members::new(&self.graph, group, stop, page).all()
    }

    /// Gets a token and tries out the permissions that the questions need.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::PermissionMissing`] with all that are missing, or why there is no answer by
    /// `deadline`.
    pub fn probe(&self, deadline: Instant) -> Result<(), DirectoryError> {
        let policy = RetryPolicy::until(deadline);
        let answers = side_by_side(|kind| {
            let url = format!("{}?$select={}&$top=1", self.list(kind), properties(kind));
            let response = self.ask(url, permission(kind), &policy)?;
            let page: Page<Object> = self.parse(&response)?;
            page.value
                .into_iter()
                .try_for_each(|object| self.principal(object, kind).map(drop))
        });
        let mut missing = Vec::new();
        for (kind, answer) in KINDS.into_iter().zip(answers) {
            match answer {
                Err(error) if error.kind == ErrorKind::PermissionMissing => {
                    missing.push(permission(kind));
                }
                other => other?,
            }
        }
        match missing.is_empty() {
            true => Ok(()),
            false => {
                let message = format!("the server's identity lacks {}", missing.join(", "));
                Err(DirectoryError::new(ErrorKind::PermissionMissing, message))
            }
        }
    }

    /// Finds the principals of a kind that have a value, and whether these are all.
    fn find(
        &self,
        kind: PrincipalKind,
        property: &str,
        value: &str,
        policy: &RetryPolicy<'_>,
    ) -> Result<(Vec<Principal>, bool), DirectoryError> {
        let filter = encode(&format!("{property} eq '{}'", value.replace('\'', "''")));
        let url = format!(
            "{}?$filter={filter}&$select={}&$top={ALIKE}",
            self.list(kind),
            properties(kind)
        );
        let response = self.ask(url, permission(kind), policy)?;
        let page: Page<Object> = self.parse(&response)?;
        let principals = page
            .value
            .into_iter()
            .map(|object| self.principal(object, kind))
            .collect::<Result<_, _>>()?;
        Ok((principals, page.next.is_none()))
    }

    fn list(&self, kind: PrincipalKind) -> String {
        let list = match kind {
            PrincipalKind::User => "users",
            PrincipalKind::Group => "groups",
            PrincipalKind::Service => "servicePrincipals",
        };
        format!("{}/v1.0/{list}", self.graph.origin)
    }

    fn ask(
        &self,
        url: String,
        permission: &str,
        policy: &RetryPolicy<'_>,
    ) -> Result<Response, Failure> {
        self.graph.ask(&Request::get(url), permission, policy)
    }

    fn parse<T: serde::de::DeserializeOwned>(
        &self,
        response: &Response,
    ) -> Result<T, DirectoryError> {
        answer::parse(response).map_err(|what| self.graph.malformed(what))
    }

    fn principal(&self, object: Object, kind: PrincipalKind) -> Result<Principal, DirectoryError> {
        object.principal(kind).map_err(|flaw| self.graph.flaw(flaw))
    }
}

fn ambiguous(name: &str, found: &[Principal], are_all: bool) -> DirectoryError {
    let named: Vec<_> = found
        .iter()
        .take(NAMED)
        .map(|principal| format!("{} {}", principal.kind, principal.object_id))
        .collect();
    let more = NonZero::new(found.len().saturating_sub(NAMED)).map_or_else(String::new, |more| {
        match are_all {
            true => format!(" and {more} more"),
            false => format!(" and more than {more} more"),
        }
    });
    let message = format!("the name {name:?} is ambiguous: {}{more}", named.join(", "));
    DirectoryError::new(ErrorKind::Ambiguous, message)
}

/// Asks about every kind at the same time, two of them on threads of their own.
fn side_by_side<T: Send>(
    ask: impl Fn(PrincipalKind) -> Result<T, DirectoryError> + Sync,
) -> [Result<T, DirectoryError>; 3] {
    let broken = || {
        let message = "a thread for a question to the directory did not run";
        Failure::new(ErrorKind::Unreachable, message).error
    };
    thread::scope(|threads| {
        let ask = &ask;
        let [user, group, service] = KINDS;
        let start = |kind| {
            thread::Builder::new()
                .name("aadauth-graph".to_owned())
                .spawn_scoped(threads, move || ask(kind))
        };
        let (user, group) = (start(user), start(group));
        let service = ask(service);
        let [user, group] = [user, group].map(|thread| match thread.map(|thread| thread.join()) {
            Ok(Ok(answer)) => answer,
            _ => Err(broken()),
        });
        [user, group, service]
    })
}
