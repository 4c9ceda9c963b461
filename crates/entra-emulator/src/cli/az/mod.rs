//! `entra-emulator az`: the commands of the Azure CLI that Azure's articles on PostgreSQL use, for a user who is signed
//! in already.

mod arguments;
mod output;
mod session;

use serde_json::{Value, json};

use super::error::CommandError;
use crate::directory::SUBSCRIPTION;
use arguments::{Account, Ad, Command, Resource, Sp, TokenArguments};
use session::{Session, UserToken};

pub(super) use arguments::AzArguments;

/// The resources of Azure's public cloud.
const DATABASES: &str = "https://ossrdbms-aad.database.windows.net";
const RESOURCE_MANAGER: &str = "https://management.core.windows.net/";
const GRAPH: &str = "https://graph.microsoft.com/";

pub(super) fn run(arguments: &AzArguments) -> Result<(), CommandError> {
    let session = Session::open(&arguments.state, &arguments.user)?;
    let answer = match &arguments.command {
        Command::Login { tenant, .. } => json!([account(&session, tenant.as_deref())?]),
        Command::Account(Account::Show { .. }) => account(&session, None)?,
        Command::Account(Account::GetAccessToken(asked)) => access_token(&session, asked)?,
        Command::Ad(Ad::SignedInUser(_)) => {
            let token = graph_token(&session)?;
            session.graph(&token, &["users", token.text("oid")], None)?
        }
        Command::Ad(Ad::Sp(Sp::List { display_name })) => {
            service_principals(&session, "displayName", display_name)?
        }
        Command::Ad(Ad::Sp(Sp::Show { id })) => {
            let found = service_principals(&session, "appId", id)?;
            let none = || CommandError::Refused(format!("there is no application {id}"));
            found.get(0).cloned().ok_or_else(none)?
        }
        Command::Cloud(_) => cloud(&session),
    };
    output::print(answer, arguments)
}

fn account(session: &Session<'_>, tenant: Option<&str>) -> Result<Value, CommandError> {
    let token = session.token(&scope(RESOURCE_MANAGER), tenant)?;
    let tenant = token.text("tid");
    Ok(json!({
        "environmentName": "AzureCloud",
        "homeTenantId": tenant,
        "id": SUBSCRIPTION,
        "isDefault": true,
        "name": "Emulator",
        "state": "Enabled",
        "tenantId": tenant,
        "user": { "name": session.user, "type": "user" },
    }))
}

fn access_token(session: &Session<'_>, asked: &TokenArguments) -> Result<Value, CommandError> {
    let scope = match (&asked.scope, &asked.resource, asked.resource_type) {
        (Some(scope), _, _) => scope.clone(),
        (None, Some(resource), _) => scope(resource),
        (None, None, Some(Resource::OssRdbms)) => scope(DATABASES),
        (None, None, Some(Resource::MsGraph)) => scope(GRAPH),
        (None, None, Some(Resource::Arm) | None) => scope(RESOURCE_MANAGER),
    };
    let token = session.token(&scope, asked.tenant.as_deref())?;
    let expires_on = token.claims.get("exp").and_then(Value::as_i64);
    Ok(super::token::described(
        &token.text,
        expires_on.unwrap_or_default(),
        token.text("tid"),
    ))
}

fn graph_token(session: &Session<'_>) -> Result<UserToken, CommandError> {
    session.token(&scope(GRAPH), None)
}

fn service_principals(
    session: &Session<'_>,
    property: &str,
    wanted: &str,
) -> Result<Value, CommandError> {
    let filter = format!("{property} eq '{}'", wanted.replace('\'', "''"));
    let token = graph_token(session)?;
    let found = session.graph(&token, &["servicePrincipals"], Some(("$filter", &filter)))?;
    Ok(found.get("value").cloned().unwrap_or_default())
}

fn cloud(session: &Session<'_>) -> Value {
    json!({
        "endpoints": {
            "activeDirectory": session.running.authority,
            "microsoftGraphResourceId": GRAPH,
            "ossrdbmsResourceId": DATABASES,
        },
        "isActive": true,
        "name": "AzureCloud",
    })
}

fn scope(resource: &str) -> String {
    format!("{resource}/.default")
}
