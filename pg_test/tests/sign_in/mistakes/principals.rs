//! Mistakes of those who map roles, and of those who connect.

use entra_emulator::Deviation;
use pg_test::Result;
use pg_test::emulator::AUDIENCE_V2;

use super::{Mistakes, SOMEONE};
use crate::rig::Subject;

const CAROL: &str = "carol@contoso.com";
const GROUP: &str = "dba00000-0000-4000-8000-000000000010";
const SERVICE: &str = "4e904700-0000-4000-8000-000000000021";

pub fn mistakes(mistakes: &mut Mistakes<'_>) -> Result<()> {
    tokens(mistakes)?;
    names(mistakes)?;
    members(mistakes)?;
    services(mistakes)?;
    passwords(mistakes)
}

fn tokens(mistakes: &mut Mistakes<'_>) -> Result<()> {
    let other = mistakes.token_for("https://management.azure.com")?;
    mistakes.made("2", SOMEONE, &other)?;
    let before = mistakes.server.plan().settings["aadauth.audience"].clone();
    let change = [("aadauth.audience", Some(AUDIENCE_V2))];
    mistakes.server.configure(&change)?;
    let v2 = mistakes.token_for(AUDIENCE_V2)?;
    mistakes.made("3", SOMEONE, &v2)?;
    let undo = [("aadauth.audience", Some(before.as_str()))];
    mistakes.server.configure(&undo)?;
    let expired = Deviation::named("expired").ok_or("no such deviation")?;
    let token = mistakes.rig.user("alice@contoso.com");
    let token = token
        .object_id(mistakes.someone)
        .deviation(expired)
        .text()?;
    mistakes.made("9", SOMEONE, &token)
}

fn names(mistakes: &mut Mistakes<'_>) -> Result<()> {
    let (rig, server) = (mistakes.rig, &mistakes.server);
    server.sql("CREATE ROLE app LOGIN")?;
    let mistyped = "a11ce000-0000-4000-8000-000000000009";
    rig.map(server, "alice@contoso.com", mistyped, "user")?;
    let carol = rig.person(server, CAROL)?;
    let (alice, carol) = (rig.alice()?, rig.token_of(&carol)?);
    mistakes.made("7", "app", &alice)?;
    mistakes.server.sql("DROP ROLE app")?;
    mistakes.made("8", "Carol@contoso.com", &carol)?;
    mistakes.made("17", "alice@contoso.com", &alice)
}

fn members(mistakes: &mut Mistakes<'_>) -> Result<()> {
    mistakes.rig.map(&mistakes.server, "dba", GROUP, "group")?;
    let silent = |name| mistakes.rig.user(name).without("groups").text();
    let (stranger, member) = (silent("mallory@contoso.com")?, silent("alice@contoso.com")?);
    mistakes.made("11", "dba", &member)?;
    mistakes
        .server
        .configure(&[("aadauth.credential", Some("client_secret"))])?;
    mistakes.made("10", "dba", &stranger)?;
    mistakes
        .server
        .configure(&[("aadauth.credential", Some("none"))])?;
    mistakes.server.sql("DROP ROLE dba").map(drop)
}

fn services(mistakes: &mut Mistakes<'_>) -> Result<()> {
    let (rig, server) = (mistakes.rig, &mistakes.server);
    let service = Subject::ServicePrincipal("reporting".to_owned());
    let token = rig.emulator.token(service).text()?;
    rig.map(server, "reporting", SERVICE, "user")?;
    mistakes.made("18", "reporting", &token)?;
    let server = &mistakes.server;
    server.sql(&format!(
        "SELECT pgaadauth_update_principal_with_oid('reporting', '{SERVICE}', 'service', false, true)"
    ))?;
    mistakes.made("19", "reporting", &token)
}

fn passwords(mistakes: &mut Mistakes<'_>) -> Result<()> {
    mistakes.server.sql(
        "CREATE ROLE local LOGIN PASSWORD 'right'; SET password_encryption = md5;
         CREATE ROLE old LOGIN PASSWORD 'right'; RESET password_encryption",
    )?;
    mistakes.made("24", "old", "right")?;
    mistakes.server.sql("DROP ROLE old")?;
    let allows = |methods| [("aadauth.authentication", Some(methods))];
    mistakes.server.configure(&allows("entra"))?;
    mistakes.made("23", "local", "right")?;
    mistakes.server.configure(&allows("both"))
}
