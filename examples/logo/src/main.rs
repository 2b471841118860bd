//! The service as a program: reads its options and serves until it is stopped.

use davy_logo::{Options, serve};
use std::process::ExitCode;

#[expect(clippy::print_stderr, reason = "a program's errors go to its standard error")]
fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
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
