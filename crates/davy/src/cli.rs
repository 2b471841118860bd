//! The command line as types; what the commands do is elsewhere.

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

/// A commit to production, with a canary that stops harm.
#[derive(Debug, Parser)]
#[command(name = "davy", version, disable_help_subcommand = true)]
pub(crate) struct Cli {
    /// One JSON object a line on stdout
    #[arg(long, global = true)]
    pub json: bool,
    #[command(flatten)]
    pub server: Server,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Server {
    /// The server's address; else the last `davy up` of this user
    #[arg(long, global = true, env = "DAVY_SERVER", value_name = "URL")]
    pub server: Option<String>,
    /// The file with the server's token
    #[arg(long, global = true, env = "DAVY_TOKEN_FILE", value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// The authority behind the server's certificate, PEM; else those that the system trusts
    #[arg(long, global = true, env = "DAVY_CA_FILE", value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// A real canary on this machine, from nothing to its end
    Demo(Demo),
    /// Write a davy.yaml to start from: guessed from a Dockerfile or a Compose file, or a plain one
    Init(Init),
    /// Run the server, in the foreground
    Up(Box<Up>),
    /// Stop the server, the gateway and local instances
    Down(Down),
    /// Look for what is wrong
    Doctor(Data),
    /// Roll out what davy.yaml says
    Deploy(Deploy),
    /// Look at and act on a rollout
    #[command(subcommand)]
    Rollout(Rollout),
    /// Go back to the release that served before
    Rollback(Rollback),
    /// The rollouts of a service, the newest first
    History {
        /// Only this service
        service: Option<String>,
    },
    /// The output of a service's instances
    Logs(Logs),
    /// What is deployed
    #[command(subcommand)]
    Service(Service),
    /// Where it is deployed
    #[command(subcommand)]
    Env(Env),
    /// What instances are given and nobody is shown
    #[command(subcommand)]
    Secret(Secret),
    /// Whether people are told what happens
    #[command(subcommand)]
    Notify(Notify),
    /// Who may use the server, and for what
    #[command(subcommand)]
    Token(Token),
    /// A code to sign in on the page with: typed there once, within ten minutes
    SignIn(SignIn),
    /// Copy everything that is needed to go on elsewhere into one file, while the server runs or not
    Backup(Backup),
    /// Put a backup into an empty folder
    Restore(Restore),
    /// Check the journal
    #[command(subcommand)]
    Audit(Audit),
    /// What rollouts would cost and take: assumed or recorded traffic, Davy's policy or those of other tools
    Simulate(Simulate),
    /// The judge by itself: blocks of counts, or a stored rollout
    #[command(subcommand)]
    Judge(Judge),
    /// Check and explain davy.yaml
    #[command(subcommand)]
    Config(Config),
    /// Completions for a shell
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// The gateway's own process; `davy up` starts it, unless it runs apart
    Gateway {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<String>,
    },
    #[command(hide = true)]
    Shim {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<std::ffi::OsString>,
    },
    #[command(hide = true)]
    Logo {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<String>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scenario {
    /// The new version is as good as the old one
    Good,
    /// The new version fails more often
    Errors,
    /// The new version fails no more, and takes 20 ms longer to answer
    Slow,
    /// One request a second: nothing can be proven
    Quiet,
    /// The counts never reach the judge
    Blind,
}

#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// What happens
    #[arg(long, value_enum, default_value = "good")]
    pub scenario: Scenario,
    /// Requests a second
    #[arg(long)]
    pub rate: Option<u32>,
    /// Repeats the sample services' dice
    #[arg(long)]
    pub seed: Option<u64>,
    /// How often the new version fails, with its unit: `5%`
    #[arg(long, value_name = "PERCENT")]
    pub error_rate: Option<String>,
    /// The first weight of the new version; 100 % comes next
    #[arg(long, value_name = "PERCENT")]
    pub weight: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Init {
    /// The service's name, or which service of the Compose file; else the folder's
    pub service: Option<String>,
    /// Guess from this Dockerfile or Compose file; else from what the folder has
    #[arg(long, value_name = "PATH", conflicts_with = "command")]
    pub from: Option<PathBuf>,
    /// What starts it, when it is no container
    #[arg(long, value_name = "COMMAND")]
    pub command: Option<String>,
    /// Where to write
    #[arg(long, default_value = "davy.yaml", value_name = "PATH")]
    pub file: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct Up {
    #[command(flatten)]
    pub data: Data,
    /// Where the API listens; port 0 picks a free one
    #[arg(long, default_value = "127.0.0.1:7420", value_name = "ADDR")]
    pub listen: std::net::SocketAddr,
    #[command(flatten)]
    pub api: crate::api::Asked,
    /// Where the gateway listens for the services' traffic; port 0 picks a free one
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "ADDR")]
    pub gateway: std::net::SocketAddr,
    #[command(flatten)]
    pub features: crate::gateway::Asked,
    #[command(flatten)]
    pub database: crate::database::Asked,
    /// How long the counts of a rollout are kept after its end: a duration, or `forever`. Events are kept
    #[arg(long, default_value = "90d", value_name = "TIME")]
    pub keep_evidence: String,
    /// How long after its end the events of a rollout are packed, to take less room; read as before: a duration, or `never`
    #[arg(long, default_value = "7d", value_name = "TIME")]
    pub pack_after: String,
    /// The gateway is a unit or a container of its own: wait for it, never start one
    #[arg(long)]
    pub gateway_apart: bool,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct Data {
    /// The folder that everything is kept in
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Down {
    #[command(flatten)]
    pub data: Data,
    /// Stop the server only: gateway and instances go on
    #[arg(long)]
    pub keep_traffic: bool,
}

#[derive(Debug, Args)]
pub(crate) struct FileArg {
    /// The file
    #[arg(long, default_value = "davy.yaml", value_name = "PATH")]
    pub file: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct Watching {
    /// Give up watching after so many seconds; the rollout goes on
    #[arg(long, value_name = "SECONDS")]
    pub timeout: Option<u64>,
    /// Stop watching when the rollout waits for a person (exit code 5)
    #[arg(long)]
    pub exit_on_pause: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Deploy {
    /// The service; must be the file's
    pub service: Option<String>,
    #[command(flatten)]
    pub file: FileArg,
    /// In place of the file's image, for this deployment
    #[arg(long, value_name = "REF")]
    pub image: Option<String>,
    /// The environment; the file's only one when absent
    #[arg(long, value_name = "ENV")]
    pub env: Option<String>,
    /// Stay until it is promoted or rolled back
    #[arg(long)]
    pub watch: bool,
    /// Say what would be done and change nothing
    #[arg(long)]
    pub dry_run: bool,
    #[command(flatten)]
    pub watching: Watching,
}

#[derive(Debug, Args)]
pub(crate) struct Target {
    /// The rollout, or a service; else the rollout under way, or the last
    pub rollout: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Rollout {
    /// Where it stands
    Status(Target),
    /// Stay until it ends
    Watch {
        #[command(flatten)]
        target: Target,
        #[command(flatten)]
        watching: Watching,
    },
    /// Every decision with its evidence
    Explain(Target),
    /// Take the remaining steps on yourself: to the last weight now
    Promote(Target),
    /// Stay at this weight
    Pause(Target),
    /// Go on
    Resume(Target),
    /// Put all traffic back on stable and end it
    Abort(Target),
}

#[derive(Debug, Args)]
pub(crate) struct Simulate {
    /// Requests a second, of both versions together
    #[arg(long, default_value_t = 100.0, value_name = "N")]
    pub rate: f64,
    /// How often stable fails, with its unit: `0.1%`
    #[arg(long, default_value = "0.1%", value_name = "PERCENT")]
    pub baseline: String,
    /// How often the new version fails, with its unit: `5%`
    #[arg(long, default_value = "1%", value_name = "PERCENT")]
    pub canary: String,
    /// How many rollouts of each policy
    #[arg(long, default_value_t = 1_000, value_name = "N")]
    pub runs: u64,
    /// Repeats the dice
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub seed: u64,
    /// The canary's weights, in place of the file's strategy: `10%,25%,50%`, or `auto`
    #[arg(long, value_name = "PERCENTS")]
    pub steps: Option<String>,
    /// The least time at each weight, such as 60s
    #[arg(long, value_name = "TIME")]
    pub hold: Option<String>,
    /// The most time at each weight; then it waits for a person
    #[arg(long, value_name = "TIME")]
    pub deadline: Option<String>,
    /// The chance of a false rollback
    #[arg(long)]
    pub alpha: Option<f64>,
    /// The chance of passing a step with a canary worse by its margin
    #[arg(long)]
    pub beta: Option<f64>,
    /// The policy's file; else davy.yaml if there is one here, else the defaults
    #[arg(long, value_name = "PATH")]
    pub file: Option<PathBuf>,
    /// What the policies would have done to this rollout of the journal, or to the `last` one
    #[arg(long, value_name = "ID", conflicts_with_all = ["rate", "baseline", "canary", "runs", "seed"])]
    pub rollout: Option<String>,
    #[command(flatten)]
    pub data: Data,
    /// Another policy beside or in place of Davy's: davy, check:60s,1%, interval:60s,99%,5, failure-limit:5m,95%,3, rank:50,
    /// z-test, oracle
    #[arg(long = "policy", value_name = "POLICY")]
    pub policies: Vec<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Judge {
    /// Judge closed blocks, one JSON object a line, and say where the evidence stands after each
    Replay(Replay),
    /// Judge a stored rollout again: are the verdicts the same, or what would another analysis have said?
    Rollout {
        /// The rollout; else the last
        rollout: Option<String>,
        #[command(flatten)]
        data: Data,
        /// Judge by the `analysis` of this file instead
        #[arg(long, value_name = "PATH")]
        file: Option<PathBuf>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Replay {
    /// The blocks; `-` for standard input
    pub file: PathBuf,
    /// The chance of a false rollback
    #[arg(long, default_value_t = 0.01)]
    pub alpha: f64,
    /// The chance of calling a canary safe that is worse by the margin
    #[arg(long, default_value_t = 0.05)]
    pub beta: f64,
    /// How many times stable's odds of failure the canary's may be, at least 1
    #[arg(long, default_value_t = 1.0)]
    pub odds: f64,
    /// A limit of the canary's failure rate: `1%`, or a fraction
    #[arg(long, value_name = "RATE")]
    pub max_error_rate: Option<String>,
    /// The margin that is to be proven: `0.5%`, or a fraction; else each weight's own
    #[arg(long, value_name = "RATE")]
    pub margin: Option<String>,
    /// How many buckets slower than stable the canary may be
    #[arg(long, value_name = "BUCKETS")]
    pub shift: Option<u8>,
}

#[derive(Debug, Args)]
pub(crate) struct Rollback {
    /// The service
    pub service: String,
    /// The release; else the one that served before
    #[arg(long, value_name = "RELEASE")]
    pub to: Option<String>,
    /// The environment; the only one when absent
    #[arg(long, value_name = "ENV")]
    pub env: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Logs {
    /// The service
    pub service: String,
    /// Only the canary's
    #[arg(long)]
    pub canary: bool,
    /// Go on with what comes
    #[arg(short, long)]
    pub follow: bool,
    /// So many lines from the end of each instance's output
    #[arg(long, default_value_t = 100)]
    pub tail: usize,
    /// The environment; the only one when absent
    #[arg(long, value_name = "ENV")]
    pub env: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Service {
    /// Every service: where, what serves, its instances
    List {
        /// Those that were removed, too
        #[arg(long)]
        all: bool,
    },
    /// One service: its route, instances and last rollouts
    Show {
        /// The service
        service: String,
        /// The environment; the only one when absent
        #[arg(long, value_name = "ENV")]
        env: Option<String>,
    },
    /// Take its traffic away, let its requests end, remove it; its history stays
    Rm {
        /// The service
        service: String,
        /// The environment; the only one when absent
        #[arg(long, value_name = "ENV")]
        env: Option<String>,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Env {
    /// Every environment in which something is deployed
    List,
    /// The services of one environment
    Show {
        /// The environment
        env: String,
    },
    /// Remove every service of an environment; their history stays
    Rm {
        /// The environment
        env: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

#[derive(Debug, Args)]
pub(crate) struct SecretScope {
    /// Only for this service; else for all
    #[arg(long, value_name = "SERVICE")]
    pub service: Option<String>,
    /// Only in this environment; else in all
    #[arg(long, value_name = "ENV")]
    pub env: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Secret {
    /// Set a value: asked for hidden, or read from standard input without the last line's end
    Set {
        /// Its name, which is a variable's: DB_PASSWORD
        name: String,
        #[command(flatten)]
        scope: SecretScope,
        /// Read the value from a file, as it is
        #[arg(long, value_name = "FILE")]
        from_file: Option<PathBuf>,
        #[arg(hide = true)]
        value: Vec<std::ffi::OsString>,
    },
    /// Names, for whom, when and by whom; never values
    List,
    /// Give it to no new release
    Rm {
        /// Its name
        name: String,
        #[command(flatten)]
        scope: SecretScope,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Notify {
    /// Send each channel of the file a test message: exit 0 when all arrived, 1 when not
    Test(NotifyTest),
    /// What is still to be told, and why it was not
    List,
}

#[derive(Debug, Args)]
pub(crate) struct NotifyTest {
    #[command(flatten)]
    pub file: FileArg,
    /// The environment; the only one when absent
    #[arg(long, value_name = "ENV")]
    pub env: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Role {
    /// Look
    Viewer,
    /// And deploy, pause, abort and roll back
    Deployer,
    /// And promote what is unproven
    Approver,
    /// And secrets, tokens, removing services, stopping the server
    Admin,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Token {
    /// Give out a token: it is printed once, alone on stdout
    Create {
        /// Its name, by which the journal knows who acts: ci, lena-laptop
        name: String,
        /// What it may do
        #[arg(long, value_enum)]
        role: Role,
        /// Only in this environment; may be repeated; else everywhere
        #[arg(long, value_name = "ENV")]
        env: Vec<String>,
        /// How long it is worth something, such as 12h or 90d; or `never`
        #[arg(long, default_value = "90d", value_name = "DURATION")]
        expires: String,
    },
    /// Names, roles, environments, until when
    List,
    /// Take a token back, at once
    Revoke {
        /// Its name
        name: String,
    },
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct SignIn {
    #[command(subcommand)]
    pub command: Option<SignedIn>,
    /// Under which name whoever uses it acts, such as lena; else under that of the token that asks
    #[arg(long)]
    pub name: Option<String>,
    /// What whoever uses it may do; everything when absent
    #[arg(long, value_enum)]
    pub role: Option<Role>,
    /// Only in this environment; may be repeated; else everywhere
    #[arg(long, value_name = "ENV")]
    pub env: Vec<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SignedIn {
    /// Who is signed in: names, roles, how, since when
    List,
    /// Sign somebody out, everywhere and at once
    End {
        /// His name, as the list has it
        name: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Backup {
    /// The file to write; it must not be there
    pub file: PathBuf,
    #[command(flatten)]
    pub data: Data,
    /// With the keys of secrets and checkpoints, the server's token and the gateway's folder: whoever has the file has all
    #[arg(long)]
    pub with_keys: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Restore {
    /// The backup
    pub file: PathBuf,
    /// The folder to put it into: not there, or empty
    #[arg(long, value_name = "DIR")]
    pub data: PathBuf,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Audit {
    /// What was done to the server: secrets, tokens, restores
    Log,
    /// Recompute every hash chain and signature: exit 0 when all hold, 1 when not
    Verify {
        #[command(flatten)]
        data: Data,
        /// A head that was kept elsewhere, or the file it is in; may be repeated
        #[arg(long, value_name = "LINE|FILE")]
        head: Vec<String>,
    },
    /// The last signed checkpoint in one line, to be kept elsewhere
    Head(Data),
}

#[derive(Debug, Subcommand)]
pub(crate) enum Config {
    /// Find every error of the file
    Check(FileArg),
    /// The JSON Schema of the file
    Schema,
    /// What an error code means
    Explain {
        /// Such as `E014`
        code: String,
    },
}
