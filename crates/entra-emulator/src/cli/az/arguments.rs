//! What `entra-emulator az` accepts.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

#[derive(Args)]
pub(in crate::cli) struct AzArguments {
    /// The state directory of the running server.
    #[arg(long, value_name = "DIR")]
    pub(super) state: PathBuf,
    /// Who is signed in: a user principal name, or a guest's mail address.
    #[arg(long, value_name = "USER")]
    pub(super) user: String,
    /// What to print of the answer: JMESPath.
    #[arg(long, global = true)]
    pub(super) query: Option<String>,
    #[arg(long, alias = "out", short, global = true, value_enum, default_value_t)]
    pub(super) output: Output,
    /// Has no effect: there are no warnings.
    #[arg(long, global = true)]
    only_show_errors: bool,
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Clone, Copy, Default, ValueEnum)]
pub(super) enum Output {
    #[default]
    Json,
    Tsv,
    None,
}

#[derive(Subcommand)]
pub(super) enum Command {
    /// Print the account, as after a successful sign-in.
    Login {
        #[arg(long, short)]
        tenant: Option<String>,
        /// Has no effect: nobody is asked for a password.
        #[arg(long)]
        use_device_code: bool,
        /// Has no effect: there is a subscription.
        #[arg(long)]
        allow_no_subscriptions: bool,
    },
    /// Access tokens, and who is signed in.
    #[command(subcommand)]
    Account(Account),
    /// Users and service principals.
    #[command(subcommand)]
    Ad(Ad),
    /// The addresses and resources of the cloud.
    #[command(subcommand)]
    Cloud(Cloud),
}

#[derive(Subcommand)]
pub(super) enum Account {
    GetAccessToken(TokenArguments),
    Show {
        /// Has no effect: there is one subscription.
        #[arg(long, short)]
        subscription: Option<String>,
    },
}

#[derive(Args)]
pub(super) struct TokenArguments {
    /// What the token is for; without this and the next two, Azure Resource Manager.
    #[arg(long, value_name = "URI", conflicts_with_all = ["scope", "resource_type"])]
    pub(super) resource: Option<String>,
    #[arg(long, conflicts_with = "resource_type")]
    pub(super) scope: Option<String>,
    #[arg(long, value_enum)]
    pub(super) resource_type: Option<Resource>,
    #[arg(long, short)]
    pub(super) tenant: Option<String>,
    /// Has no effect: there is one subscription.
    #[arg(long, short)]
    subscription: Option<String>,
}

#[derive(Clone, Copy, ValueEnum)]
pub(super) enum Resource {
    Arm,
    MsGraph,
    OssRdbms,
}

#[derive(Subcommand)]
pub(super) enum Ad {
    /// The user who is signed in.
    #[command(subcommand)]
    SignedInUser(SignedInUser),
    /// Service principals, also those of managed identities.
    #[command(subcommand)]
    Sp(Sp),
}

#[derive(Subcommand)]
pub(super) enum SignedInUser {
    Show,
}

#[derive(Subcommand)]
pub(super) enum Sp {
    List {
        /// The whole name.
        #[arg(long)]
        display_name: String,
    },
    Show {
        /// The application (client) id.
        #[arg(long)]
        id: String,
    },
}

#[derive(Subcommand)]
pub(super) enum Cloud {
    Show,
}
