//! Every seed, and mutations of them. A failure prints how to repeat it: `DAVY_SEED=n cargo nextest run -p davy-fuzz TARGET`.

use fastrand::Rng;
use std::{
    cell::Cell,
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
};

thread_local! {
    /// Those of tasks, too, which nobody would hear of.
    static PANICS: Cell<u32> = const { Cell::new(0) };
}

/// What is put in place of a number.
const NUMBERS: [&str; 9] =
    ["0", "1", "-1", "10001", "65536", "4294967296", "9223372036854775808", "18446744073709551615", "1e308"];

fn seeds(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds").join(target);
    let files = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut all: Vec<_> = files
        .map(|file| file.expect("a file").path())
        .map(|path| (path.display().to_string(), fs::read(&path).expect("a seed")))
        .collect();
    all.sort();
    assert!(all.len() >= 10, "{} has seeds", folder.display());
    all
}

/// Runs one input; whether it, or a task that it began, broke a law.
fn breaks(target: &str, bytes: &[u8]) -> bool {
    PANICS.set(0);
    let run = catch_unwind(AssertUnwindSafe(|| davy_fuzz::run(target, bytes)));
    run.is_err() || PANICS.get() > 0
}

fn mutated(dice: &mut Rng, seeds: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = seeds[dice.usize(..seeds.len())].1.clone();
    for _ in 0..dice.usize(1..5) {
        let at = dice.usize(..=bytes.len());
        let end = (at + dice.usize(..24)).min(bytes.len());
        match dice.u8(..7) {
            0 => drop(bytes.splice(at..end, [])),
            1 => drop(bytes.splice(at..at, [dice.u8(..)])),
            2 => {
                let twice = bytes[at..end].to_vec();
                bytes.splice(at..at, twice);
            }
            3 => {
                let other = &seeds[dice.usize(..seeds.len())].1;
                let from = dice.usize(..=other.len());
                let until = (from + dice.usize(..200)).min(other.len());
                bytes.splice(at..end, other[from..until].iter().copied());
            }
            4 if at < bytes.len() => bytes[at] ^= 1 << dice.u8(..8),
            _ => {
                let digits = |byte: &u8| byte.is_ascii_digit();
                let from = at + bytes[at..].iter().position(digits).unwrap_or(0);
                let until = from + bytes[from..].iter().take_while(|byte| digits(byte)).count();
                let number = NUMBERS[dice.usize(..NUMBERS.len())];
                bytes.splice(from..until, number.bytes());
            }
        }
    }
    bytes
}

fn target(name: &str, mutations: u64) {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        PANICS.set(PANICS.get() + 1);
        before(panic);
    }));
    let seeds = seeds(name);
    let given = std::env::var("DAVY_SEED").ok().and_then(|seed| seed.parse().ok());
    if given.is_none() {
        for (path, bytes) in &seeds {
            assert!(!breaks(name, bytes), "{path} breaks a law");
        }
    }
    let base = given.unwrap_or_else(|| fastrand::u64(..1 << 40));
    for seed in base..base + if given.is_some() { 1 } else { mutations } {
        let bytes = mutated(&mut Rng::with_seed(seed), &seeds);
        assert!(!breaks(name, &bytes), "DAVY_SEED={seed} breaks a law of {name}: {}", bytes.escape_ascii());
    }
}

macro_rules! targets {
    ($($name:ident: $mutations:literal),* $(,)?) => {
        $(#[test]
        fn $name() {
            target(stringify!($name), $mutations);
        })*

        #[test]
        fn every_target_has_a_test() {
            let names: Vec<_> = davy_fuzz::TARGETS.iter().map(|(name, _)| *name).collect();
            assert_eq!(names, [$(stringify!($name)),*]);
        }
    };
}

// As many as take about a second.
targets! { file: 400, draft: 400, api: 100, gateway: 300, journal: 120, pack: 400, machine: 400, judge: 400 }
