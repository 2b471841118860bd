//! The gateway alone: what `davy gateway` is, for its tests and benchmarks and for those who run it apart.

use std::process::ExitCode;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    // As `davy gateway …` it has a porter; else it is the one process.
    let is_kept = words.first().is_some_and(|word| word == "gateway");
    let done = davy_gateway::Options::parse(words.into_iter().skip(usize::from(is_kept)))
        .map_err(|why| format!("{why}\nusage: davy-gateway [gateway] {}", davy_gateway::Options::USAGE))
        .and_then(|options| {
            let done = if is_kept && !options.held {
                davy_gateway::keep(&options)
            } else {
                davy_gateway::run(options).map(|()| true)
            };
            done.map_err(|error| format!("{error}\nhint: {}", error.hint))
        });
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            #[expect(clippy::print_stderr, reason = "a person or the keeper's log reads it")]
            {
                eprintln!("error: {why}");
            }
            ExitCode::FAILURE
        }
    }
}
