//! Arbitrary bytes end in errors, never in a panic; their places are in the file.

use davy_config::{parse, render};
use proptest::prelude::*;

fn check(bytes: &[u8]) {
    let Err(errors) = parse(bytes) else { return };
    assert!(!errors.is_empty());
    let text = String::from_utf8_lossy(bytes);
    let lines = text.replace("\r\n", "\n").replace('\r', "\n").lines().count().max(1);
    for error in errors {
        assert!((1..=lines).contains(&error.line), "{error:?} of {lines} lines");
        assert!(error.column >= 1 && error.length >= 1, "{error:?}");
        let shown = render(&error, &text, "davy.yaml");
        assert!(shown.lines().count() <= 6 && shown.contains("help: "), "{shown}");
    }
}

/// Pieces of files, put together without sense.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "service",
        "command",
        "rollout",
        "canary",
        "steps",
        "hold",
        "env",
        "environments",
        "health",
        "route",
        "files",
        ": ",
        ":",
        "\n",
        "\n  ",
        "\n    ",
        "\r\n",
        "\r",
        "\t",
        "- ",
        "[",
        "]",
        "{",
        "}",
        ", ",
        "\"",
        "'",
        "&a ",
        "*a",
        "!!x ",
        "? ",
        "|",
        ">",
        "#",
        " # ",
        "---",
        "...",
        "%",
        "~",
        "null",
        "true",
        "1%",
        "100%",
        "60s",
        "5",
        "-1",
        "$PORT",
        "${",
        "logo",
        "é",
        "🪔",
        "\u{FEFF}",
        "\u{85}",
        "\u{2028}",
        "\\",
        "\\0",
        "<<",
    ]);
    prop::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn bytes(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        check(&bytes);
    }

    #[test]
    fn texts(text in "\\PC{0,200}") {
        check(text.as_bytes());
    }

    #[test]
    fn nonsense(text in pieces()) {
        check(text.as_bytes());
    }

    /// A good file with something put into it, or a part taken out of it.
    #[test]
    fn changed(at in 0_usize..900, length in 0_usize..20, text in pieces()) {
        let good = include_str!("good/full.yaml");
        let start = good.floor_char_boundary(at);
        let end = good.floor_char_boundary(start + length);
        check(format!("{}{text}{}", &good[..start], &good[end..]).as_bytes());
    }
}
