//! What the command line accepts.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use serde_json::Value;

use super::az::AzArguments;
use super::help;
use crate::authority::{Authority, TokenVersion};
use crate::directory::{Change, Subject, TOKEN_EXCHANGE};
use crate::server::{DeviceAnswer, Fault};
use crate::token::Deviation;

/// Microsoft Entra ID's sign-in protocols on loopback, for tests and for trying things out.
#[derive(Parser)]
#[command(version, after_help = help::EXAMPLES)]
pub(super) struct Arguments {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub(super) enum Command {
    /// Serve discovery, signing keys, tokens and managed identities until SIGTERM or SIGINT.
    Serve(ServeArguments),
    /// Print an access token, as `az account get-access-token` would. Needs no running server.
    Token(TokenArguments),
    /// Print a token of an issuer that applications trust (workload identity federation).
    FederatedToken(FederatedTokenArguments),
    /// Issue a TLS server certificate from the emulator's certificate authority.
    Certificate(CertificateArguments),
    /// Print the published signing keys as a key set (JWKS).
    Keys(KeysArguments),
    /// Rotate the keys of a running server, set faults, count requests.
    #[command(after_help = help::CONTROL)]
    Control(ControlArguments),
    /// The emulator's replacement for the Azure CLI: some of its commands, for a user of a running server.
    Az(AzArguments),
    /// List the invalid-token cases that `token --with` knows, and why aadauth refuses each.
    Deviations {
        #[arg(long, value_enum, default_value_t)]
        output: Output,
    },
}

#[derive(Args)]
#[command(after_help = help::SERVE)]
pub(super) struct ServeArguments {
    /// What is kept between starts: certificate authority, signing keys. Created where missing.
    #[arg(long, value_name = "DIR")]
    pub state: PathBuf,
    /// Tenants, users, groups, applications: a TOML file; without it, a directory that is built in.
    #[arg(long, value_name = "FILE")]
    pub directory: Option<PathBuf>,
    /// Port of the authority (TLS); 0 picks a free one.
    #[arg(long, default_value_t = 0)]
    pub port: u16,
    /// Port of the managed identity endpoint (plain HTTP, as on virtual machines); 0 picks one.
    #[arg(long, default_value_t = 0)]
    pub imds_port: u16,
    /// The address to listen on.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    pub listen: IpAddr,
    /// Accept an address that is not loopback: every client that reaches it gets tokens in any name.
    #[arg(long)]
    pub beyond_loopback: bool,
    /// The host name in the authority's address.
    #[arg(long, value_name = "NAME", default_value = "localhost")]
    pub host: String,
    /// Let this user enter every device code at once, instead of waiting for `control device`, and
    /// sign in where a browser is sent without a login_hint.
    #[arg(long, value_name = "USER")]
    pub approve_device_codes: Option<String>,
    /// The secret that requests to the endpoint of App Service carry; without it, a random one.
    #[arg(long, value_name = "TEXT")]
    pub identity_header: Option<String>,
}

#[derive(Args)]
#[command(after_help = help::TOKEN, after_long_help = help::token_long())]
pub(super) struct TokenArguments {
    /// The state directory, whose keys sign.
    #[arg(long, value_name = "DIR")]
    pub state: PathBuf,
    /// The directory file, as for serve.
    #[arg(long, value_name = "FILE")]
    pub directory: Option<PathBuf>,
    #[command(flatten)]
    pub whose: Whose,
    /// What the token is for: a URI or application id; without it, the directory's first resource.
    #[arg(long, visible_alias = "resource", value_name = "URI")]
    pub audience: Option<String>,
    /// Version of the token, 1 or 2, instead of the one that the audience gets.
    #[arg(long = "version", value_name = "1|2")]
    pub token_version: Option<TokenVersion>,
    /// Who issues it: https://host[:port], or public, usgov, china for Microsoft's own names.
    /// Without it, the server that last ran on the state directory.
    #[arg(long, value_name = "AUTHORITY")]
    pub authority: Option<Authority>,
    /// Make the token invalid in this respect; may be repeated. --help lists the cases.
    #[arg(long = "with", value_name = "DEVIATION", value_parser = parse_deviation)]
    pub deviations: Vec<&'static Deviation>,
    /// Set a claim to a JSON value, or to the text itself if it is not JSON.
    #[arg(long = "claim", value_name = "NAME=JSON", value_parser = parse_member)]
    pub claims: Vec<(String, Value)>,
    /// Leave a claim out.
    #[arg(long, value_name = "NAME")]
    pub without: Vec<String>,
    /// Set a member of the header.
    #[arg(long = "header", value_name = "NAME=JSON", value_parser = parse_member)]
    pub header: Vec<(String, Value)>,
    /// Fill the token up to this many bytes (one less where that length is not possible).
    #[arg(long, value_name = "BYTES")]
    pub size: Option<usize>,
    /// Seconds until it expires; negative for one that has expired.
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true)]
    pub expires_in: Option<i64>,
    /// Only the token, or the JSON object that the Azure CLI prints.
    #[arg(long, value_enum, default_value_t)]
    pub output: Output,
}

#[derive(Args)]
#[command(after_help = help::FEDERATED_TOKEN)]
pub(super) struct FederatedTokenArguments {
    /// The state directory of the server that shall accept it.
    #[arg(long, value_name = "DIR")]
    pub state: PathBuf,
    /// Who issues it, as a federated credential of the directory file says.
    #[arg(long, value_name = "URL")]
    pub issuer: String,
    /// Whom it is about.
    #[arg(long, value_name = "NAME")]
    pub subject: String,
    /// What it is for.
    #[arg(long, value_name = "AUDIENCE", default_value = TOKEN_EXCHANGE)]
    pub audience: String,
    /// Seconds until it expires; negative for one that has expired.
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 3600,
        allow_negative_numbers = true
    )]
    pub expires_in: i64,
}

#[derive(Args)]
#[group(required = true, multiple = false)]
pub(super) struct Whose {
    /// A user, by user principal name, or a guest by mail address.
    #[arg(long, value_name = "UPN")]
    pub user: Option<String>,
    /// An application, by name or client id.
    #[arg(long, value_name = "NAME|CLIENT_ID")]
    pub service_principal: Option<String>,
    /// A managed identity, by name, client id or resource id.
    #[arg(long, value_name = "NAME")]
    pub managed_identity: Option<String>,
}

impl Whose {
    /// The one that was given; clap has seen to it that there is one.
    pub(super) fn subject(&self) -> Option<Subject> {
        let user = self.user.clone().map(Subject::User);
        let service = self
            .service_principal
            .clone()
            .map(Subject::ServicePrincipal);
        let managed = self.managed_identity.clone().map(Subject::ManagedIdentity);
        user.or(service).or(managed)
    }
}

#[derive(Args)]
#[command(after_help = help::CERTIFICATE)]
pub(super) struct CertificateArguments {
    /// The state directory, whose certificate authority signs.
    #[arg(long, value_name = "DIR")]
    pub state: PathBuf,
    /// A host name or IP address under which the server is reached; may be repeated.
    #[arg(long, value_name = "HOST", required = true)]
    pub name: Vec<String>,
    /// Where to write the certificate.
    #[arg(long, value_name = "FILE")]
    pub out_cert: PathBuf,
    /// Where to write its key, readable to its owner only.
    #[arg(long, value_name = "FILE")]
    pub out_key: PathBuf,
}

#[derive(Args)]
pub(super) struct KeysArguments {
    /// The state directory.
    #[arg(long, value_name = "DIR")]
    pub state: PathBuf,
    /// The form that goes with tokens of this version; keys of form 2 name their issuer.
    #[arg(long = "version", value_name = "1|2", default_value = "1")]
    pub token_version: TokenVersion,
    /// The tenant of that issuer, GUID or domain; without it, the directory's first.
    #[arg(long)]
    pub tenant: Option<String>,
    /// The directory file, as for serve.
    #[arg(long, value_name = "FILE")]
    pub directory: Option<PathBuf>,
    /// The authority of that issuer, as for token.
    #[arg(long, value_name = "AUTHORITY")]
    pub authority: Option<Authority>,
}

#[derive(Args)]
pub(super) struct ControlArguments {
    /// The state directory of the running server.
    #[arg(long, value_name = "DIR")]
    pub state: PathBuf,
    #[command(subcommand)]
    pub order: Order,
}

#[derive(Subcommand)]
pub(super) enum Order {
    /// Show which keys are published and which one signs.
    Keys,
    /// Publish a new signing key and sign with it; the old ones stay published.
    Rotate,
    /// Publish a key no more: the oldest, or the one that is named.
    Retire { key_id: Option<String> },
    /// Show the faults, set one, or clear them all.
    Faults {
        /// slow=MILLISECONDS, down, unavailable, error, throttled=SECONDS, garbage, huge=BYTES,
        /// redirect=URL, truncated, empty-keys, wrong-issuer, wrong-keys-host
        fault: Option<Fault>,
        /// metadata, keys, instance, token, imds, graph, other or all.
        #[arg(long, value_name = "ENDPOINT", requires = "fault")]
        on: Option<String>,
        /// How often; without it, until cleared.
        #[arg(long, requires = "fault", value_parser = clap::value_parser!(u64).range(1..))]
        times: Option<u64>,
        /// Strike every second, third... request, and let the others pass.
        #[arg(long, requires = "fault", value_parser = clap::value_parser!(u64).range(1..))]
        every: Option<u64>,
        /// Clear all faults.
        #[arg(long, conflicts_with = "fault")]
        clear: bool,
    },
    /// Change who is directly in a group. Lasts until the server stops, as all changes here do.
    Members {
        /// Name or object id.
        group: String,
        /// A user by user principal name, anything else by name, or an object id; may be repeated.
        #[arg(long, value_name = "MEMBER")]
        add: Vec<String>,
        #[arg(long, value_name = "MEMBER", required_unless_present = "add")]
        remove: Vec<String>,
    },
    /// Block an account, let it be used again, or delete it.
    User {
        /// User principal name or object id.
        user: String,
        #[command(flatten)]
        state: UserState,
    },
    /// Delete a group, application or managed identity.
    Delete {
        /// Name or object id.
        name: String,
    },
    /// Answer a device code that a client shows, for the user.
    Device {
        user_code: String,
        #[command(flatten)]
        answer: DeviceChoice,
    },
    /// Show how often each endpoint was asked.
    Requests {
        /// Begin to count from zero.
        #[arg(long)]
        reset: bool,
    },
}

#[derive(Args)]
#[group(required = true, multiple = false)]
pub(super) struct DeviceChoice {
    /// Sign in as this user, by user principal name or object id.
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// Refuse.
    #[arg(long)]
    decline: bool,
    /// Let the code's time be over.
    #[arg(long)]
    expire: bool,
}

impl DeviceChoice {
    /// clap has seen to it that one of the three was given.
    pub(super) fn answer(&self) -> DeviceAnswer {
        match &self.user {
            Some(user) => DeviceAnswer::Approve(user.clone()),
            None if self.decline => DeviceAnswer::Decline,
            None => DeviceAnswer::Expire,
        }
    }
}

#[derive(Args)]
#[group(required = true, multiple = false)]
pub(super) struct UserState {
    #[arg(long)]
    disable: bool,
    #[arg(long)]
    enable: bool,
    #[arg(long)]
    delete: bool,
}

impl UserState {
    /// What is to become of `user`; clap has seen to it that one of the three was given.
    pub(super) fn change(&self, user: &str) -> Change {
        let user = user.to_owned();
        if self.delete {
            Change::Delete { name: user }
        } else {
            Change::User {
                user,
                enabled: self.enable,
            }
        }
    }
}

#[derive(Clone, Copy, Default, ValueEnum)]
pub(super) enum Output {
    #[default]
    Plain,
    Json,
}

fn parse_deviation(name: &str) -> Result<&'static Deviation, String> {
    Deviation::named(name).ok_or_else(|| {
        "there is no such deviation; `entra-emulator deviations` lists them".to_owned()
    })
}

fn parse_member(text: &str) -> Result<(String, Value), String> {
    let (name, value) = text.split_once('=').ok_or("must be NAME=JSON")?;
    if name.is_empty() {
        return Err("must be NAME=JSON".to_owned());
    }
    let value = serde_json::from_str(value).unwrap_or_else(|_| Value::from(value));
    Ok((name.to_owned(), value))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;
    use serde_json::json;

    use super::*;

    #[test]
    fn command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn members_are_json_or_text() {
        assert_eq!(
            parse_member("aud=api://x").unwrap(),
            ("aud".to_owned(), json!("api://x"))
        );
        assert_eq!(parse_member("exp=1").unwrap().1, json!(1));
        assert_eq!(parse_member("a=[\"b=c\"]").unwrap().1, json!(["b=c"]));
        assert!(parse_member("aud").is_err());
        assert!(parse_member("=1").is_err());
    }

    #[test]
    fn a_token_is_one_principals() {
        let parse = |extra: &[&str]| {
            let words = ["entra-emulator", "token", "--state", "s"];
            Arguments::try_parse_from(words.iter().chain(extra)).is_ok()
        };
        assert!(parse(&["--user", "a"]));
        assert!(!parse(&[]));
        assert!(!parse(&["--user", "a", "--managed-identity", "b"]));
        assert!(!parse(&["--user", "a", "--with", "nonsense"]));
        assert!(parse(&[
            "--user",
            "a",
            "--with",
            "expired",
            "--expires-in",
            "-5"
        ]));
    }
}
