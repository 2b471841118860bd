//! Who is told of a rollout: read, and never with a secret in what is said of it.

use crate::bad::corpus;
use davy_config::{parse, render};
use davy_core::{Address, Occasion, Receiver, SecretName};

fn file(folder: &str) -> String {
    let (_, bytes) = corpus(folder).into_iter().find(|(name, _)| name == "notify.yaml").unwrap();
    String::from_utf8(bytes).unwrap()
}

#[test]
fn channels_are_secrets_by_name_or_addresses() {
    let found = parse(file("good").as_bytes()).unwrap().resolve(None, None).unwrap().policy.notify;
    let secret = |name: &str| SecretName::new(name).unwrap();
    let [slack, signed, team, here] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!(slack.to, Receiver::Slack { address: secret("SLACK_WEBHOOK") });
    assert_eq!(slack.on, [Occasion::Waiting, Occasion::Promoted, Occasion::RolledBack].into());
    let address = Address::Plain("https://deploys.example.com/davy".to_owned());
    assert_eq!(signed.to, Receiver::Webhook { address, secret: Some(secret("DAVY_SIGNING")) });
    assert_eq!(signed.on, Occasion::USUAL.into());
    assert_eq!(team.to, Receiver::Webhook { address: Address::Secret(secret("TEAM_HOOK")), secret: None });
    assert_eq!(here.to_string(), "webhook http://127.0.0.1:9000/davy");
    // As the journal keeps it and reads it again, in the words of the file.
    let json = serde_json::to_value(&found).unwrap();
    assert_eq!(
        json[0],
        serde_json::json!({ "to": { "slack": { "address": "SLACK_WEBHOOK" } }, "on": ["waiting", "promoted", "rolled-back"] })
    );
    assert_eq!(serde_json::from_value::<Vec<davy_core::Channel>>(json).unwrap(), found);
}

#[test]
fn a_secret_in_the_file_is_not_repeated() {
    let text = file("bad");
    let errors = parse(text.as_bytes()).unwrap_err();
    assert!(errors.len() >= 14, "{errors:#?}");
    for error in errors {
        let shown = render(&error, &text, "davy.yaml") + &serde_json::to_string(&error).unwrap();
        assert!(!shown.contains("a-secret-in-the-file"), "{shown}");
    }
}
