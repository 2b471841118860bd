//! Servers that are none: every one is an error, soon, and none takes the reader down.

use crate::server::{Readings, look};
use davy_core::{Given, Secret, SecretName, ServiceKey};
use davy_ports::{Boxed, Error, SecretValue, Vault};
use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener},
    sync::{Arc, Mutex},
    time::Duration,
};

/// Answers everything with these bytes; what it was asked last.
fn stub(answer: Vec<u8>) -> (SocketAddr, Arc<Mutex<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its address");
    let asked = Arc::new(Mutex::new(String::new()));
    let seen = Arc::clone(&asked);
    std::thread::spawn(move || {
        for mut socket in listener.incoming().flatten() {
            let (answer, seen) = (answer.clone(), Arc::clone(&seen));
            std::thread::spawn(move || {
                socket.set_read_timeout(Some(Duration::from_secs(20))).ok();
                let mut head = vec![0; 8192];
                let read = socket.read(&mut head).unwrap_or_default();
                *seen.lock().expect("not poisoned") = String::from_utf8_lossy(&head[..read]).into_owned();
                socket.write_all(&answer).ok();
                if answer.is_empty() {
                    // It hangs until the other side has had enough.
                    std::io::copy(&mut socket, &mut std::io::sink()).ok();
                }
            });
        }
    });
    (address, asked)
}

fn page(status: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}").into_bytes()
}

#[tokio::test]
async fn each_way_of_failing_is_told() {
    let matrix = |values: &str| {
        let body = format!(
            r#"{{"status":"success","data":{{"resultType":"matrix","result":[{{"metric":{{"__name__":"a"}},"values":{values}}}]}}}}"#
        );
        page("200 OK", &body)
    };
    let mut endless = b"HTTP/1.1 200 OK\r\ncontent-length: 20000000\r\n\r\n".to_vec();
    endless.resize(20_000_000, b' ');
    let cases = [
        (page("200 OK", "<html><body>Sign in</body></html>"), "a page, not with samples"),
        (page("503 Service Unavailable", "busy"), "it answered 503"),
        (page("302 Found", ""), "it answered 302"),
        (page("401 Unauthorized", "no"), "it wants another token"),
        (
            page("400 Bad Request", r#"{"status":"error","errorType":"bad_data","error":"parse error"}"#),
            "it says: parse error",
        ),
        (
            page("200 OK", r#"{"status":"success","data":{"resultType":"matrix","result":[]}}"#),
            "there is no such counter",
        ),
        (matrix(r#"[[1,"NaN"]]"#), "stands at NaN"),
        (matrix(r#"[[1,"many"]]"#), "is no number"),
        (matrix(r#"[[1,"-5"]]"#), "nothing can have counted"),
        (b"SSH-2.0-OpenSSH_9\r\n".to_vec(), "ask the metrics' server"),
        (endless, "longer than 8 MiB"),
        (Vec::new(), "no answer within 5s"),
    ];
    for (answer, words) in cases {
        let (address, _) = stub(answer);
        let url = format!("http://{address}");
        let mut readings = Readings::of(&url);
        let first = readings.next().await.span.expect_err(words).to_string();
        assert!(first.contains(words), "{words}: {first}");
        assert!(!first.contains('\n'), "{first}");
        // Who looks now is told the same, at once for all or at the counter.
        let looked = match look(&url).await {
            Err(error) => error.to_string(),
            Ok(looked) => looked[0].trouble.as_ref().expect(words).to_string(),
        };
        assert!(looked.contains(words), "{words}: {looked}");
    }
    let nobody = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port");
    Readings::of(&format!("http://{nobody}")).fails("refused").await;
    // A certificate that nobody here has signed.
    let (address, _) = stub(b"HTTP/1.1 200 OK\r\n\r\n".to_vec());
    Readings::of(&format!("https://{address}")).fails("ask the metrics' server https://").await;
}

struct One;

impl Vault for One {
    fn open<'a>(&'a self, secrets: &'a [Secret]) -> Boxed<'a, Result<Vec<SecretValue>, Error>> {
        Box::pin(async move { Ok(secrets.iter().map(|_| SecretValue::new(b"lamp-oil\n".to_vec())).collect()) })
    }

    fn known<'a>(&'a self, _: &'a ServiceKey) -> Boxed<'a, Vec<SecretValue>> {
        Box::pin(async { Vec::new() })
    }
}

#[tokio::test]
async fn the_token_is_sent_in_a_header_and_shown_nowhere() {
    let (address, asked) = stub(page("403 Forbidden", "lamp-oil"));
    let name = SecretName::new("PROMETHEUS_TOKEN").expect("a name");
    let token = Secret { name, given: Given::Variable, pin: None };
    let mut readings = Readings::told(&format!("http://{address}/prom"), Some(token), Arc::new(One));
    let told = readings.fails("another token").await;
    let asked = asked.lock().expect("not poisoned").clone();
    assert!(
        asked.starts_with("GET /prom/api/v1/query?query=checkout_total%7Brelease%3D%22new%22%7D%5B150000ms%5D&time="),
        "{asked}"
    );
    assert!(asked.to_ascii_lowercase().contains("\r\nauthorization: bearer lamp-oil\r\n"), "{asked}");
    assert!(!told.contains("lamp-oil"), "{told}");
}
