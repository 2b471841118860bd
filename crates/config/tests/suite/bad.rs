//! Every error: its code, its place, its hint, as people see them.

use davy_config::{Diagnostic, explain, explanations, parse, render, sign_in};
use std::{collections::BTreeSet, fs, path::Path};

/// Every file of the corpus: its name and its bytes.
pub(crate) fn corpus(folder: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/suite").join(folder);
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read(&path).unwrap())
        })
        .collect();
    files.sort();
    files
}

fn errors(bytes: &[u8]) -> Vec<Diagnostic> {
    parse(bytes).expect_err("the file has errors")
}

fn codes(bytes: &[u8]) -> Vec<String> {
    errors(bytes).iter().map(|error| error.code.to_string()).collect()
}

/// A file that lacks nothing, and lines after it.
fn with(lines: &str) -> Vec<u8> {
    format!("service: logo\ncommand: ./logo --port $PORT\n{lines}").into_bytes()
}

#[test]
fn every_bad_file_is_told_with_code_place_and_hint() {
    let mut all = String::new();
    for (name, bytes) in corpus("bad") {
        let text = String::from_utf8(bytes.clone()).unwrap();
        let Err(errors) = parse(&bytes) else { panic!("{name} has no errors") };
        for error in errors {
            assert!(!error.hint.is_empty(), "{name}: {error:?} has no hint");
            assert!((1..=text.lines().count()).contains(&error.line), "{name}: {error:?} is outside the file");
            all.push_str(&render(&error, &text, &name));
            all.push('\n');
        }
    }
    insta::assert_snapshot!("bad", all);
}

#[test]
fn every_code_is_explained_and_given_by_a_file() {
    let mut given: BTreeSet<String> = corpus("bad").iter().flat_map(|(_, bytes)| codes(bytes)).collect();
    given.extend(codes(&vec![b'#'; 2 << 20]));
    given.extend(codes(b"service: \xFF"));
    given.extend(codes(format!("{}{}", "[".repeat(100), "]".repeat(100)).as_bytes()));
    let file = parse(&with("")).unwrap();
    for errors in [file.resolve(Some("moon"), None), file.resolve(None, Some("other"))] {
        given.extend(errors.unwrap_err().iter().map(|error| error.code.to_string()));
    }
    given.extend(sign_in(b"providers: []").unwrap_err().iter().map(|error| error.code.to_string()));
    for (_, bytes) in corpus("good") {
        let file = parse(&bytes).unwrap();
        given.extend(file.notes().iter().map(|note| note.code.to_string()));
    }
    let known: BTreeSet<String> = explanations().iter().map(|known| known.code.to_owned()).collect();
    assert_eq!(given, known);
    assert_eq!(known.len(), explanations().len(), "a code stands twice in the table");
    for code in &known {
        let known = explain(&code.to_lowercase()).expect("a code is found in lower case too");
        assert!(!known.title.is_empty() && known.text.len() > 40, "{code} is hardly explained");
    }
    assert_eq!(explain("E999"), None);
}

#[test]
fn a_large_file_is_refused_unread() {
    let mut large = b"service: logo\n".to_vec();
    large.resize(10 << 20, b'\t');
    assert_eq!(codes(&large), ["E001"]);
}

#[test]
fn the_greatest_file_that_is_read_costs_little() {
    let fill = |unit: &str| unit.repeat((1 << 20) / unit.len()).into_bytes();
    // What grows fastest in a parser: openings, entries, keys, quotes, anchors, aliases, indentation.
    for unit in
        ["[", "{", "- ", "? ", "a: ", "\"", "'", "&a ", "*a ", "!t ", "[a, ", "- a\n", "|\n ", "%", "\n", " ", "\r"]
    {
        assert!(parse(&fill(unit)).is_err(), "{unit:?} is no file");
    }
    let keys: String = (0..60_000).map(|number| format!("key{number}: 1\n")).collect();
    assert_eq!(codes(keys.as_bytes()), ["E006"]);
    let keys: String = (0..9_000).map(|number| format!("key{number}: 1\n")).collect();
    assert_eq!(errors(keys.as_bytes()).len(), 100, "nobody reads more");
    let stairs: String = (0..700).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect();
    assert_eq!(codes(stairs.as_bytes()), ["E005"]);
}

#[test]
fn deep_nesting_ends_with_an_error() {
    for (open, close) in [("[", "]"), ("{a: ", "}"), ("- ", ""), ("? ", "")] {
        let deep = format!("files: \n {}{}", open.repeat(10_000), close.repeat(10_000));
        assert_eq!(codes(deep.as_bytes()), ["E005"], "{open:?}");
    }
}

#[test]
fn nesting_behind_aliases_counts() {
    let open = "[".repeat(50);
    let close = "]".repeat(50);
    let file = format!("a: &a {open}{close}\nb: &b {open}*a{close}\n");
    assert_eq!(codes(file.as_bytes()), ["E005"]);
}

#[test]
fn text_behind_aliases_counts() {
    let file = format!("a: &a '{}'\nb: [*a, *a, *a, *a, *a, *a, *a, *a]\n", "x".repeat(800_000));
    assert_eq!(codes(file.as_bytes()), ["E006"]);
}

#[test]
fn what_is_not_text_is_told_with_its_place() {
    let place = |bytes: &[u8]| {
        let error = errors(bytes).remove(0);
        (error.code.to_string(), error.line, error.column)
    };
    assert_eq!(place(b"service: \xFF"), ("E002".to_owned(), 1, 10));
    assert_eq!(place("service: ä\nb: \0\n".as_bytes()), ("E002".to_owned(), 2, 4));
    assert_eq!(place(b"\xFF\xFEs\0e\0"), ("E002".to_owned(), 1, 1));
    assert_eq!(place(b"service: a\r\nb: c\r\n\0"), ("E002".to_owned(), 3, 1));
}

#[test]
fn places_are_the_same_with_other_line_ends_and_a_byte_order_mark() {
    let unix = with("replicas: 0\nrollout:\n  drain: 5\n");
    let unix = String::from_utf8(unix).unwrap();
    let expected = errors(unix.as_bytes());
    assert_eq!(expected.iter().map(|error| (error.line, error.column)).collect::<Vec<_>>(), [(3, 11), (5, 10)]);
    for other in [unix.replace('\n', "\r\n"), unix.replace('\n', "\r"), format!("\u{FEFF}{unix}")] {
        assert_eq!(errors(other.as_bytes()), expected, "{other:?}");
        assert_eq!(render(&expected[0], &other, "f"), render(&expected[0], &unix, "f"));
    }
    let marked = "\u{FEFF}sevice: logo\n";
    let error = &errors(marked.as_bytes())[0];
    assert!(render(error, marked, "f").contains("1 | sevice: logo\n  | ^^^^^^\n"), "{}", render(error, marked, "f"));
}

#[test]
fn a_long_line_is_shown_around_its_place() {
    let file = with(&format!("env: {{ LONG: {}, B: $C }}\n", "x".repeat(5_000)));
    let error = errors(&file).remove(0);
    let shown = render(&error, &String::from_utf8(file).unwrap(), "davy.yaml");
    assert!(shown.contains("xxx, B: $C }\n"), "{shown}");
    assert!(shown.lines().all(|line| line.chars().count() < 160), "{shown}");
    let (source, caret) = (shown.lines().nth(3).unwrap(), shown.lines().nth(4).unwrap());
    assert_eq!(source.find("$C"), caret.find("^^"), "{shown}");
}

#[test]
fn a_file_cannot_write_to_the_terminal() {
    let file = "service: \"\u{1b}[31mred\"\n\u{202E}key: 1\nzz\u{7}: 2\n";
    for error in errors(file.as_bytes()) {
        let shown = render(&error, file, "\u{1b}]0;x\u{7}.yaml");
        assert!(!shown.chars().any(|c| (c.is_control() && c != '\n') || c == '\u{202E}'), "{shown:?}");
    }
    let long = with(&format!("{}: 1\n", "k".repeat(1_000)));
    assert!(errors(&long)[0].message.len() < 200);
}

#[test]
fn the_environment_is_named_when_there_are_several() {
    let file = parse(&with("environments: { staging: {}, production: {} }\n")).unwrap();
    let error = file.resolve(None, None).unwrap_err().remove(0);
    assert_eq!((error.code.to_string().as_str(), error.line), ("E022", 3));
    assert!(error.message.contains("staging, production"), "{}", error.message);
    assert!(file.resolve(Some("Staging"), None).unwrap_err()[0].hint.contains("staging, production"));
    assert_eq!(file.resolve(Some("moon"), Some("sun")).unwrap_err().len(), 2);
}

#[test]
fn an_image_takes_the_place_of_an_image_only() {
    let text = "service: logo\nimage: logo:1\nport: 80\n";
    let found = parse(text.as_bytes()).unwrap().with_image("logo@sha256:0f").unwrap().resolve(None, None).unwrap();
    let other = parse(text.replace("logo:1", "logo@sha256:0f").as_bytes()).unwrap().resolve(None, None).unwrap();
    assert_eq!(found, other);
    for image in ["", "lo go", "logo\n", "logo\u{202E}"] {
        let error = parse(text.as_bytes()).unwrap().with_image(image).unwrap_err().remove(0);
        assert_eq!((error.code.to_string().as_str(), error.line), ("E028", 2), "{image:?}");
        assert!(!error.message.contains(['\n', '\u{202E}']), "{}", error.message);
    }
    let error = parse(&with("")).unwrap().with_image("logo:2").unwrap_err().remove(0);
    assert_eq!((error.code.to_string().as_str(), error.line), ("E029", 2));
    assert!(error.message.contains("`logo:2`") && error.hint.contains("--image"), "{error:?}");
}

#[test]
fn all_errors_are_told_at_once_in_order() {
    let found = errors(b"service: x\ncomand: ./a\nrollout:\n  canary:\n    steps: [5%, 1%]\n    hold: 60\n");
    assert_eq!(found.iter().map(|error| error.line).collect::<Vec<_>>(), [1, 2, 5, 6]);
    assert!(found[1].hint.contains("did you mean `command`"));
}

#[test]
fn what_comes_before_a_syntax_error_is_told_too() {
    let file = with("replicas: 1\nreplicas: 2\nhealth: [\n");
    assert_eq!(codes(&file), ["E007", "E003"]);
}
