//! The service as a program: reads its options and serves until it is stopped. An image says in `LOGO_VERSION` which
//! version it is; `--version` on the command line wins.

use davy_logo::{Options, serve};
use std::process::ExitCode;

#[expect(clippy::print_stderr, reason = "a program's errors go to its standard error")]
fn main() -> ExitCode {
    let image = std::env::var("LOGO_VERSION").ok().map(|version| format!("--version={version}"));
    let options = match Options::parse(image.into_iter().chain(std::env::args().skip(1))) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("logo: {error}");
            return ExitCode::from(2);
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime.and_then(|runtime| runtime.block_on(serve(options))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("logo: {error}");
            ExitCode::FAILURE
        }
    }
}
