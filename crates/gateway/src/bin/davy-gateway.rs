//! The gateway alone: what `davy gateway` is, for its tests and benchmarks and for those who run it apart.

use std::process::ExitCode;

fn main() -> ExitCode {
    // `davy gateway …` and this are started alike.
    let words = std::env::args().skip(1).skip_while(|word| word == "gateway");
    let done = davy_gateway::Options::parse(words)
        .map_err(|why| format!("{why}\nusage: davy-gateway {}", davy_gateway::Options::USAGE))
        .and_then(|options| davy_gateway::run(options).map_err(|error| format!("{error}\nhint: {}", error.hint)));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            #[expect(clippy::print_stderr, reason = "a person or the keeper's log reads it")]
            {
                eprintln!("error: {why}");
            }
            ExitCode::FAILURE
        }
    }
}
