//! Signing in with the clients that people use.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use rustls::ClientConfig;

use crate::Result;
use crate::place::program;
use crate::tls::Connector;

/// Where to sign in, as whom, and with what.
#[derive(Clone)]
pub struct Attempt {
    pub port: u16,
    pub role: String,
    /// Token or password.
    pub secret: String,
    pub database: String,
    /// PEM file of the authorities that the server's certificate is verified against.
    pub authorities: PathBuf,
}

/// What came of a client program.
#[derive(Debug)]
pub struct Printed {
    pub success: bool,
    pub output: String,
    pub error: String,
}

impl From<Output> for Printed {
    fn from(output: Output) -> Printed {
        Printed {
            success: output.status.success(),
            output: String::from_utf8_lossy(&output.stdout)
                .trim_end()
                .to_owned(),
            error: String::from_utf8_lossy(&output.stderr)
                .trim_end()
                .to_owned(),
        }
    }
}

impl Attempt {
    /// Runs SQL with psql, over TLS with the server's name verified; `extra` is more of libpq's
    /// connection string.
    ///
    /// # Errors
    /// There is no psql.
    pub fn psql(&self, extra: &str, sql: &str) -> Result<Printed> {
        let string = format!(
            "host=localhost hostaddr=127.0.0.1 port={} dbname='{}' user='{}' sslmode=verify-full \
             sslrootcert='{}' {extra}",
            self.port,
            quoted(&self.database),
            quoted(&self.role),
            self.authorities.display(),
        );
        psql(&string, &self.secret, sql)
    }

    /// Signs in with tokio-postgres; what `sql` returns.
    ///
    /// # Errors
    /// The sign-in is refused, or the query.
    pub fn tokio_postgres(&self, tls: &Arc<ClientConfig>, sql: &str) -> Result<String> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let mut config = tokio_postgres::Config::new();
        config
            .host("localhost")
            .hostaddr(std::net::Ipv4Addr::LOCALHOST.into())
            .port(self.port)
            .user(&self.role)
            .password(&self.secret)
            .dbname(&self.database)
            .ssl_mode(tokio_postgres::config::SslMode::Require);
        runtime.block_on(async {
            let (client, connection) = config.connect(Connector(Arc::clone(tls))).await?;
            let connection = tokio::spawn(connection);
            let answer = client.query_one(sql, &[]).await?.try_get(0)?;
            drop(client);
            connection.await??;
            Ok(answer)
        })
    }
}

/// Runs psql with a whole connection string of the caller's. The server's errors are printed with
/// their SQLSTATE.
///
/// # Errors
/// There is no psql.
pub fn psql(connection: &str, secret: &str, sql: &str) -> Result<Printed> {
    let mut command = Command::new(program("psql")?);
    command.args([
        "-XAtq",
        "-w",
        "-v",
        "ON_ERROR_STOP=1",
        "-v",
        "VERBOSITY=verbose",
        "-d",
        connection,
        "-c",
        sql,
    ]);
    without_pg_variables(&mut command);
    command.env("PGPASSWORD", secret).stdin(Stdio::null());
    Ok(command.output()?.into())
}

/// Nothing of the caller's may decide how a client connects.
pub fn without_pg_variables(command: &mut Command) -> &mut Command {
    for (name, _) in
        std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"PG"))
    {
        command.env_remove(name);
    }
    command
}

fn quoted(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\'', "\\'")
}
