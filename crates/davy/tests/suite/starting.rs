//! Starting, stopping, and what may be wrong before anything runs.

use crate::host::{Host, last, text};
use std::{fs, net::TcpListener};

#[test]
fn a_first_deployment_serves_and_down_leaves_nothing() {
    let host = Host::up();
    host.write("v1", "");
    let output = host.davy(&["deploy", "--watch", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert_eq!(last(&output)["outcome"], "promoted");
    assert_eq!(host.get(), Some((200, "v1".to_owned())));
    let again = host.davy(&["deploy", "--watch"]);
    assert_eq!(again.status.code(), Some(0), "{}", text(&again));
    assert!(text(&again).contains("serves already"), "{}", text(&again));
    for words in [&["doctor"][..], &["audit", "verify"], &["history"], &["rollout", "explain"], &["rollout", "status"]]
    {
        let output = host.davy(words);
        assert!(output.status.success(), "{words:?}: {}", text(&output));
        assert!(!output.stdout.is_empty());
    }
    host.down();
}

#[test]
fn a_folder_and_a_port_are_used_once() {
    let host = Host::up();
    let data = host.data();
    let second = host.davy(&["up", "--data", data.to_str().expect("a plain path"), "--listen", "127.0.0.1:0"]);
    assert_eq!(second.status.code(), Some(2), "{}", text(&second));
    assert!(text(&second).contains("another server uses the data folder"));
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("its address").to_string();
    for (api, gateway) in [(address.as_str(), "127.0.0.1:0"), ("127.0.0.1:0", address.as_str())] {
        let other = host.folder.path().join("other");
        let words = ["up", "--data", other.to_str().expect("a plain path"), "--listen", api, "--gateway", gateway];
        let output = host.davy(&words);
        assert_eq!(output.status.code(), Some(1), "{}", text(&output));
        assert!(
            text(&output).contains(&address) && text(&output).contains("help: end what listens there"),
            "{}",
            text(&output)
        );
        assert!(!other.exists(), "nothing is left behind");
    }
    host.down();
}

#[test]
fn without_a_server_one_is_told_to_start_it() {
    let host = Host::new();
    let output = host.davy(&["history"]);
    assert_eq!(output.status.code(), Some(6), "{}", text(&output));
    assert!(text(&output).contains("davy up"));
}

#[test]
fn a_file_with_errors_is_refused_line_by_line_and_changes_nothing() {
    let host = Host::up();
    let bombs = "a: &a [x, x, x, x, x, x, x, x, x]\n".to_owned()
        + &('b'..='h').fold(String::new(), |text, name| {
            let before = char::from(name as u8 - 1);
            text + &format!("{name}: &{name} [{}]\n", vec![format!("*{before}"); 9].join(", "))
        });
    let cases = [
        ("E011", 3, "service: x\ncommand: ./a $PORT\nreplicsa: 2\n".to_owned()),
        ("E014", 5, "service: x\ncommand: ./a $PORT\nrollout:\n  canary:\n    hold: 60\n".to_owned()),
        ("E016", 3, "service: x\ncommand: ./a $PORT\nrollout: { canary: { steps: [5%, 1%] } }\n".to_owned()),
        ("E017", 2, "service: x\ncommand: ./a --port 8080\n".to_owned()),
        ("E007", 2, "service: x\nservice: y\ncommand: ./a $PORT\n".to_owned()),
        ("E004", 4, "service: x\ncommand: ./a $PORT\nhealth:\n\tpath: /\n".to_owned()),
        ("E012", 2, "service: x\nslo: 99.5%\ncommand: ./a $PORT\n".to_owned()),
        ("E006", 5, bombs),
        ("E001", 1, "# x\n".repeat(2_600_000)),
    ];
    for (code, line, bad) in cases {
        fs::write(host.folder.path().join("davy.yaml"), &bad).expect("a file");
        let checked = host.davy(&["config", "check", "--json"]);
        assert_eq!(checked.status.code(), Some(2), "{code}: {}", text(&checked));
        let out = String::from_utf8_lossy(&checked.stdout).into_owned();
        let errors: Vec<serde_json::Value> =
            out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        let found = errors.iter().find(|error| error["code"] == code);
        let found = found.unwrap_or_else(|| panic!("{code} is missing: {out}"));
        assert_eq!(found["line"], line, "{code}: {out}");
        assert!(!found["hint"].as_str().expect("a hint").is_empty());
        assert_eq!(errors.last().expect("a last line")["type"], "checked");
        let explained = host.davy(&["config", "explain", code]);
        assert!(explained.status.success());
        let deployed = host.davy(&["deploy", "--watch"]);
        assert_eq!(deployed.status.code(), Some(2), "{code}: {}", text(&deployed));
    }
    host.write("v1", "");
    let imaged = host.davy(&["deploy", "--image", "logo:2"]);
    assert_eq!(imaged.status.code(), Some(2), "{}", text(&imaged));
    assert!(text(&imaged).contains("error[E029]: `logo:2` was asked for"), "{}", text(&imaged));
    let several = "service: x\ncommand: ./a $PORT\nenvironments: { staging: { platform: local }, production: { platform: local } }\n";
    fs::write(host.folder.path().join("davy.yaml"), several).expect("a file");
    let checked = host.davy(&["config", "check"]);
    assert!(checked.status.success(), "a file may have several environments: {}", text(&checked));
    let deployed = host.davy(&["deploy"]);
    assert_eq!(deployed.status.code(), Some(2), "which one must be said: {}", text(&deployed));
    let history = host.davy(&["history", "--json"]);
    assert!(history.status.success() && history.stdout.is_empty(), "nothing was changed");
    host.down();
}
