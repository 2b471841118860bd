//! `davy`: parses the command line, runs one command, exits with its code. The only crate that knows all places.

mod apart;
mod api;
mod archive;
mod cli;
mod client;
mod commands;
mod database;
mod exit;
mod gateway;
mod home;
mod load;
mod output;
mod packing;
mod places;
mod retention;
mod server;
mod servers;
mod sign_in;
mod trust;
mod view;

use clap::Parser;
use exit::Exit;
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = match cli::Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            error.print().ok();
            return ExitCode::from(if error.use_stderr() { Exit::Usage as u8 } else { Exit::Promoted as u8 });
        }
    };
    let json = cli.json;
    if let cli::Command::Shim { words } = cli.command {
        // Before any thread is made: the kernel ties an instance's life to the thread that starts it.
        return davy_local::shim::main(words);
    }
    match commands::run(cli) {
        Ok(exit) => ExitCode::from(exit as u8),
        Err(failure) => {
            failure.print(json);
            ExitCode::from(failure.exit as u8)
        }
    }
}
