//! Secrets in containers: variables and files inside, and no trace of them in what is shown.

use crate::engine::{Engine, container, healthy, key, release, until, workload};
use davy_core::{Given, Health, Millis, Pin, Scope, Secret, SecretName, ServiceKey};
use davy_ports::{Boxed, Error, LogQuery, Platform, SecretValue, Vault};
use futures_util::StreamExt;
use std::sync::Arc;

const PASSWORD: &str = "correct horse battery";
const PEM: &str = "-----BEGIN KEY-----\nlamp-and-canary\n-----END KEY-----\n";

struct Known;

fn values() -> Vec<SecretValue> {
    [PASSWORD, PEM].map(|value| SecretValue::new(value.as_bytes().to_vec())).to_vec()
}

impl Vault for Known {
    fn open<'a>(&'a self, secrets: &'a [Secret]) -> Boxed<'a, Result<Vec<SecretValue>, Error>> {
        assert_eq!(secrets.len(), 2);
        Box::pin(async { Ok(values()) })
    }

    fn known<'a>(&'a self, _: &'a ServiceKey) -> Boxed<'a, Vec<SecretValue>> {
        Box::pin(async { values() })
    }
}

#[tokio::test]
async fn a_container_has_its_secrets_and_its_output_does_not_show_them() {
    let engine = Engine::start();
    engine.image("web:1", "one", &[]);
    let place = engine.place().with_vault(Arc::new(Known));
    let secret = |name, given| {
        let pin = Some(Pin { scope: Scope::default(), version: 1 });
        Secret { name: SecretName::new(name).expect("a name"), given, pin }
    };
    let secrets = vec![secret("DB_PASSWORD", Given::Variable), secret("TLS_KEY", Given::File)];
    let says = "echo it is $DB_PASSWORD; busybox cat $TLS_KEY_FILE; busybox ls -ln $TLS_KEY_FILE; \
        busybox printf '%16380s%s|\\n' '' \"$DB_PASSWORD\"; ";
    let mut asked = container("web:1");
    asked.command =
        ["/bin/sh", "-c", &format!("{says} echo all said; exec httpd -f -p 8080 -h /www")].map(str::to_owned).to_vec();
    asked.user = Some("1000:1000".to_owned());
    let mut asked = workload(asked);
    asked.secrets = secrets;
    let one = release(&place, asked.clone()).await;
    place.ensure(&engine.order(&one, 1)).await.expect("taken");
    healthy(&place, 1).await;
    let name = engine.containers().remove(0);
    assert_eq!(engine.said(&["exec", &name, "/bin/busybox", "cat", "/run/secrets/TLS_KEY"]), PEM.trim());
    let inside = engine.said(&["exec", &name, "/bin/busybox", "env"]);
    assert!(inside.contains(&format!("DB_PASSWORD={PASSWORD}")) && !inside.contains("TLS_KEY="), "{inside}");
    // What a container wrote is kept by the engine; what is shown of it has no secret.
    for follow in [false, true] {
        let query = LogQuery { key: key(), release: None, tail: 100, follow };
        let mut lines = place.logs(&query).await.expect("logs");
        let mut seen = Vec::new();
        while !seen.iter().any(|line: &String| line == "all said") {
            seen.push(lines.next().await.expect("more").expect("a line").line);
        }
        let all = seen.join("\n");
        assert!(all.contains("it is ***") && all.contains("***|"), "{seen:?}");
        assert!(!all.contains("horse") && !all.contains("battery") && !all.contains("canary"), "{all}");
        assert!(all.contains("-r--------") && all.contains("1000     1000"), "only its user reads the file: {all}");
    }
    // The engine starts it again by itself, with its files.
    engine.docker(&["restart", "--time", "0", &name]);
    assert_eq!(engine.said(&["exec", &name, "/bin/busybox", "cat", "/run/secrets/TLS_KEY"]), PEM.trim());
    place.remove(&key(), &one.id, engine.next(), Millis(0)).await.expect("removed");

    // The last words of one that fails go into the journal.
    let davy_core::Run::Container(container) = &mut asked.run else { unreachable!() };
    container.command =
        ["/bin/sh", "-c", "echo cannot log in with $DB_PASSWORD >&2; exit 3"].map(str::to_owned).to_vec();
    let two = release(&place, asked).await;
    place.ensure(&engine.order(&two, 1)).await.expect("taken");
    let words = |seen: &[davy_core::Instance]| {
        seen.iter().any(|one| matches!(&one.health, Health::Ended { why } if why.contains("cannot log in with ***")))
    };
    until(&place, "told", words).await;
    place.stop_all(Millis(0)).await.expect("stopped");
}
