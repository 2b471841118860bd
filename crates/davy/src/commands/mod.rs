//! One file for each command, or for a few that belong together.

mod audit;
mod backup;
mod config;
mod demo;
mod deploy;
mod doctor;
mod init;
mod judge;
mod logs;
mod notify;
mod replay;
mod restore;
mod rollout;
mod secret;
mod service;
mod sign_in;
mod simulate;
mod stored;
mod token;
mod up;
mod watch;

pub(crate) use config::show;

use crate::{
    cli::{Audit, Cli, Command},
    client::Client,
    exit::{DONE, Exit, Failure},
};
use anyhow::Context;
use clap::CommandFactory;

/// Runs what was asked for.
pub(crate) fn run(cli: Cli) -> Result<Exit, Failure> {
    let Cli { json, server, command } = cli;
    match command {
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "davy", &mut std::io::stdout());
            Ok(DONE)
        }
        Command::Config(command) => config::run(command, json),
        Command::Init(asked) => init::run(&asked, json),
        Command::Gateway { words } => up::gateway(words),
        Command::Logo { words } => up::logo(words),
        command => {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
            let runtime = runtime.context("start the runtime")?;
            let exit = runtime.block_on(async move {
                match command {
                    Command::Demo(asked) => demo::run(&asked, json).await,
                    Command::Up(asked) => up::up(*asked, json).await,
                    Command::Down(asked) => up::down(asked, &server, json).await,
                    Command::Doctor(asked) => doctor::run(&asked, &server, json).await,
                    Command::Audit(Audit::Log) => token::log(&Client::find(&server)?, json).await,
                    Command::Audit(command) => audit::run(command, &server, json).await,
                    Command::Simulate(asked) => simulate::run(&asked, json).await,
                    Command::Judge(command) => judge::run(command, json).await,
                    Command::Backup(asked) => backup::run(&asked, json).await,
                    Command::Restore(asked) => restore::run(&asked, json).await,
                    Command::SignIn(asked) => sign_in::run(asked, &Client::find(&server)?, json).await,
                    Command::Token(command) => token::run(command, &Client::find(&server)?, json).await,
                    Command::Deploy(asked) if asked.dry_run => deploy::dry_run(&asked, &server, json).await,
                    Command::Deploy(asked) => deploy::run(&asked, &Client::find(&server)?, json).await,
                    Command::Rollout(command) => rollout::run(command, &Client::find(&server)?, json).await,
                    Command::Rollback(asked) => rollout::rollback(asked, &Client::find(&server)?, json).await,
                    Command::History { service } => rollout::history(service, &Client::find(&server)?, json).await,
                    Command::Service(command) => service::run(command, &Client::find(&server)?, json).await,
                    Command::Env(command) => service::environments(command, &Client::find(&server)?, json).await,
                    Command::Secret(command) => secret::run(command, &Client::find(&server)?, json).await,
                    Command::Notify(command) => notify::run(command, &Client::find(&server)?, json).await,
                    Command::Logs(asked) => logs::run(asked, &Client::find(&server)?, json).await,
                    _ => Ok(DONE),
                }
            });
            runtime.shutdown_timeout(std::time::Duration::from_millis(200));
            exit
        }
    }
}
