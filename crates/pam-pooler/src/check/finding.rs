//! The kinds of findings, what they mean, and what to write instead.

use std::fmt;
use std::path::{Path, PathBuf};

/// Declares [`Code`] from one table, most serious first, which `docs/pgbouncer.md` repeats.
///
/// With an error, somebody gets in who should not, tokens can be read by others, or good tokens are refused. With a
/// warning it works, but not as safely or as fast as it should. A notice may be intended.
macro_rules! codes {
    ($($severity:ident { $($name:ident $code:literal $meaning:literal $remedy:literal)+ })+) => {
        /// The kind of a finding.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Code {
            $($(#[doc = $meaning] $name,)+)+
        }

        impl Code {
            /// Severity, code, meaning and remedy.
            const fn row(self) -> (&'static str, &'static str, &'static str, &'static str) {
                match self { $($(Code::$name => (stringify!($severity), $code, $meaning, $remedy),)+)+ }
            }
        }
    };
}

codes! {
    Error {
        AuthType "auth-type"
            "PgBouncer does not ask the module: clients get in without a token, or are refused with one."
            "Write auth_type = pam in [pgbouncer]."
        ForcedUser "forced-user"
            "A database has user=, so each client becomes that role."
            "Remove user= and restart PgBouncer: after only a reload, it keeps the role."
        PamServiceMissing "pam-service-missing"
            "The PAM service file cannot be read, so /etc/pam.d/other decides, which may let everybody in."
            "Write auth required pam_aadauth.so and account required pam_aadauth.so."
        PamServiceChanged "pam-service-changed"
            "The PAM service file has other lines than the two of pam_aadauth.so, so other modules let clients in or refuse them."
            "Write auth required pam_aadauth.so and account required pam_aadauth.so, and nothing else."
        FileChangeable "file-changeable"
            "A file that decides on logins can be changed by accounts other than root and PgBouncer's."
            "Give it to root, or to the user that PgBouncer runs as (--user), with chmod go-w."
        KeyExposed "key-exposed"
            "A private key can be read by other accounts."
            "Give it to the user that PgBouncer runs as with chmod 0600, or to root with 0640, and replace a key that was read."
        KeyUnreadable "key-unreadable"
            "PgBouncer cannot read a private key."
            "Give it to the user that PgBouncer runs as with chmod 0600."
        ServerTls "server-tls"
            "PgBouncer sends tokens to a server that it has not verified."
            "Write server_tls_sslmode = verify-full and server_tls_ca_file. A database on a Unix socket needs neither."
        ClientTls "client-tls"
            "Clients may send their tokens without TLS."
            "Write client_tls_sslmode = require, client_tls_cert_file and client_tls_key_file."
        PamModuleMissing "pam-module-missing"
            "There is no module where the PAM service file names it, so everybody is refused."
            "Install the package aadauth-pgbouncer, or run make install-pooler."
        ConfRefused "conf-refused"
            "The module's configuration file cannot be read, or the module does not accept it, so everybody is refused."
            "Correct it: docs/pgbouncer.md has an example."
        FileMissing "file-missing"
            "A file of certificates or a key is not there."
            "Name a file that exists, by its full path."
        DatabaseAuthUser "database-auth-user"
            "A database has auth_user=, which PgBouncer does not allow with PAM, so its clients are refused."
            "Remove auth_user= from it."
    }
    Warning {
        AuthorityNotNamed "authority-not-named"
            "No file has the authority that issued the server's certificate, so PgBouncer trusts those that it was built with."
            "Write server_tls_ca_file."
        DatabasePassword "database-password"
            "A database has password=, a secret that PgBouncer does not need: it uses the tokens of its clients."
            "Remove password=."
        LoginRetry "login-retry"
            "After the server has refused an expired token, PgBouncer refuses all clients of the role for more than a second."
            "Write server_login_retry = 1."
        SocketOff "socket-off"
            "The module cannot wake PgBouncer up, and a login waits up to a third of a second."
            "Write unix_socket_dir = /var/run/postgresql, or another directory that PgBouncer may write."
    }
    Notice {
        SettingNotNeeded "setting-not-needed"
            "The setting is for other methods, and not used with PAM."
            "Remove it."
        MaxClientConn "max-client-conn"
            "With fewer than 40 places for clients, the module's own connections to PgBouncer take places that clients need."
            "Set max_client_conn a few places higher than the number of clients."
    }
}

/// A file, and where it says something.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place(pub PathBuf, pub Option<usize>);

impl Place {
    pub fn file(file: &Path) -> Place {
        Place(file.to_owned(), None)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.display())?;
        self.1.map_or(Ok(()), |line| write!(f, ":{line}"))
    }
}

/// Sorted, the most serious is first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    pub code: Code,
    pub place: Place,
    /// What it is there.
    pub detail: String,
}

impl Finding {
    pub fn new(code: Code, place: &Place, detail: impl Into<String>) -> Finding {
        let (place, detail) = (place.clone(), detail.into());
        Finding {
            code,
            place,
            detail,
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (severity, code, meaning, remedy) = self.code.row();
        let severity = severity.to_ascii_lowercase();
        writeln!(f, "{severity}: {code}: {}: {}", self.place, self.detail)?;
        writeln!(f, "    {meaning}\n    {remedy}")
    }
}
