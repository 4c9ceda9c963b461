//! Python's clients.

use std::fs;
use std::path::Path;
use std::process::Command;

use pg_test::Result;
use pg_test::emulator::{AUDIENCE, TENANT};
use pg_test::place;
use pg_test::process::checked;
use pg_test::rig::{Rig, ensure};

use crate::page::block;
use crate::surroundings::{
    ALICE, GUEST, IDENTITY, OSSRDBMS, USER_ASSIGNED, Who, fails, prints, renews, signs_in,
};
use crate::{Installed, Test};

pub const TESTS: &[Test] = &[
    ("psycopg", |rig| client(rig, "psycopg", PSYCOPG)),
    ("psycopg2", |rig| client(rig, "psycopg2", PSYCOPG2)),
    ("asyncpg", |rig| client(rig, "asyncpg", TEN_AT_ONCE)),
    ("sqlalchemy", |rig| client(rig, "sqlalchemy", SQLALCHEMY)),
    ("pg8000", |rig| client(rig, "pg8000", PG8000)),
    ("django", django),
    ("django_with_a_pool", django_pool),
    ("azure_postgresql_auth", azure_postgresql_auth),
    ("an_application_with_a_secret", application),
];

pub const INSTALLED: &[Installed] = &[
    ("psycopg", || {
        let pool = version("psycopg_pool")?;
        Ok(format!("{}, psycopg_pool {pool}", version("psycopg")?))
    }),
    ("psycopg2", || version("psycopg2-binary")),
    ("asyncpg", || version("asyncpg")),
    ("SQLAlchemy", || version("SQLAlchemy")),
    ("Django", || version("Django")),
    ("pg8000", || version("pg8000")),
    ("azure-postgresql-auth", || version("azure-postgresql-auth")),
];

/// After the page's code: the pool opens a second connection.
const PSYCOPG: &str = "
with pool.connection() as one, pool.connection() as two:
    assert one.info.backend_pid != two.info.backend_pid
";
const PSYCOPG2: &str = "
assert pool.getconn().info.backend_pid != pool.getconn().info.backend_pid
";
const SQLALCHEMY: &str = "
pid = text('SELECT pg_backend_pid()')
with engine.connect() as one, engine.connect() as two:
    assert one.scalar(pid) != two.scalar(pid)
";
const PG8000: &str = "
assert pool.connect().dbapi_connection is not connection.dbapi_connection
";
/// It opens ten connections from the beginning.
const TEN_AT_ONCE: &str = "";

/// The page's code signs in; with `pool` after it, a second connection gets a token of its own.
fn client(rig: &Rig, name: &str, pool: &str) -> Result<()> {
    let code = block(&format!("python {name}"))?;
    signs_in(rig, || Ok(python(&code)))?;
    prints(rig, python(&code), Who::Identity(IDENTITY), IDENTITY)?;
    renews(rig, python(&format!("{code}{pool}")), AUDIENCE)
}

/// Unmodified, with tokens of Azure's database resource; and with a credential for another audience.
fn azure_postgresql_auth(rig: &Rig) -> Result<()> {
    let code = block("python azure-postgresql-auth")?;
    signs_in(rig, || Ok(python(&code)))?;
    let mut managed = python(&code);
    managed.env("AZURE_CLIENT_ID", "ba7c0000-0000-4000-8000-000000000040");
    prints(rig, managed, Who::Identity(USER_ASSIGNED), USER_ASSIGNED)?;
    renews(rig, python(&format!("{code}{PSYCOPG}")), OSSRDBMS)?;

    let nameless = code.replace(", \"user\": os.environ[\"PGUSER\"]", "");
    let patient = nameless.replace("timeout=10", "timeout=60");
    prints(rig, python(&patient), Who::User(ALICE), ALICE)?;
    for (who, code, why) in [
        (Who::User(GUEST), &nameless, "user \"bob@fabrikam.com\""),
        (Who::Identity(IDENTITY), &code, "retrieve Entra credentials"),
    ] {
        fails(rig, python(code), who, why)?;
    }

    let credential = block("python azure-postgresql-auth own audience")?;
    let code = code.replace("DefaultAzureCredential()", "OwnAudience()");
    let code = format!("{credential}{code}{PSYCOPG}");
    signs_in(rig, || Ok(python(&code)))?;
    renews(rig, python(&code), AUDIENCE)
}

/// The page's code with another credential.
fn application(rig: &Rig) -> Result<()> {
    let credential = format!(
        "ClientSecretCredential(
            '{TENANT}', '4e904700-0000-4000-8000-000000000020', 'reporting-secret',
            # Elsewhere than at Microsoft's own hosts, there is nobody to ask.
            authority='{}', disable_instance_discovery=True)",
        rig.emulator.authority(),
    );
    let code = block("python psycopg")?
        .replace("DefaultAzureCredential()", &credential)
        .replace("DefaultAzureCredential", "ClientSecretCredential");
    prints(rig, python(&code), Who::Identity("reporting"), "reporting").map(drop)
}

fn django(rig: &Rig) -> Result<()> {
    let project = rig.run().path().join("django");
    fs::create_dir_all(project.join("entra"))?;
    fs::write(project.join("entra/base.py"), block("python django")?)?;
    fs::write(
        project.join("settings.py"),
        block("python django settings")?,
    )?;
    signs_in(rig, || Ok(django_shell(&project, WHO)))?;
    prints(
        rig,
        django_shell(&project, WHO),
        Who::Identity(IDENTITY),
        IDENTITY,
    )?;
    let again = format!("{WHO}connection.close()\nconnection.ensure_connection()\n");
    renews(rig, django_shell(&project, &again), AUDIENCE)
}

fn django_pool(rig: &Rig) -> Result<()> {
    let project = rig.run().path().join("django-pool");
    fs::create_dir(&project)?;
    fs::write(project.join("settings.py"), block("python django pool")?)?;
    signs_in(rig, || Ok(django_shell(&project, WHO)))?;
    prints(
        rig,
        django_shell(&project, WHO),
        Who::Identity(IDENTITY),
        IDENTITY,
    )?;
    // Django's pool opens four connections from the beginning. This one goes back to it.
    let all = format!("{WHO}connection.close()\nconnection.pool.wait(60)\n");
    let ran = prints(rig, django_shell(&project, &all), Who::User(ALICE), ALICE)?;
    ensure(ran.az_calls == 4, || format!("{ran:?}"))?;

    // With the other engine, all have the token that Django got for its pool. It gets one more for the connection
    // that it asks the pool for.
    fs::create_dir(project.join("entra"))?;
    fs::write(project.join("entra/base.py"), block("python django")?)?;
    let settings = block("python django pool")?
        .replace("\"django.db.backends.postgresql\"", "\"entra\"")
        .replace("\"connection_class\": Connection, ", "");
    fs::write(project.join("settings.py"), settings)?;
    let ran = prints(rig, django_shell(&project, &all), Who::User(ALICE), ALICE)?;
    ensure(ran.az_calls == 2, || format!("{ran:?}"))
}

const WHO: &str = "
from django.db import connection
with connection.cursor() as cursor:
    cursor.execute('SELECT current_user')
    print(cursor.fetchone()[0])
";

/// Django's shell in a project, whose settings say that it verifies the server.
fn django_shell(project: &Path, code: &str) -> Command {
    let mut command = Command::new("env");
    command
        .arg("--unset=PGSSLMODE")
        .arg(place::python())
        .args(["-m", "django", "shell", "--no-imports", "-c", code])
        .current_dir(project)
        .env("DJANGO_SETTINGS_MODULE", "settings");
    command
}

pub fn python(code: &str) -> Command {
    let mut command = Command::new(place::python());
    command.args(["-c", code]);
    command
}

fn version(package: &str) -> Result<String> {
    package_version(&place::python(), package)
}

/// The version of a package, as the Python says that has it.
pub fn package_version(interpreter: &Path, package: &str) -> Result<String> {
    let code = format!("import importlib.metadata as m; print(m.version('{package}'))");
    let version = checked(Command::new(interpreter).args(["-c", &code]))?;
    Ok(version.trim().to_owned())
}
