//! What runs on an engine beside Davy's own: what is said of it, by whom, and that it can be reached.

use crate::engine::Engine;
use davy_core::{
    Check, Container, Finding, Found, HealthCheck, Millis, Place, Reach, Route, Run, Said, Site, Source, Speaker,
    Workload,
};
use davy_docker::{DockerPlatform, Options};
use davy_ports::Platform;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::TcpStream,
    path::PathBuf,
};

fn workload(image: &str, port: Option<u16>) -> Workload {
    Workload {
        run: Run::Container(Container {
            image: image.to_owned(),
            command: Vec::new(),
            port,
            user: None,
            volumes: Vec::new(),
            stop_signal: None,
            cpu: None,
            memory: None,
            engine: None,
        }),
        env: BTreeMap::new(),
        secrets: Vec::new(),
        replicas: 1,
        health: HealthCheck { path: None, grace: Millis::seconds(5), interval: Millis::seconds(1) },
        route: Route { host: None, path: "/".to_owned() },
    }
}

async fn site(place: &DockerPlatform) -> Site {
    let mut sites = place.found().await;
    assert_eq!(sites.len(), 1);
    sites.remove(0)
}

#[tokio::test]
async fn what_runs_is_told_with_who_says_what() {
    let engine = Engine::start();
    let check = "HEALTHCHECK --interval=7s --start-period=9s CMD [\"/bin/test\", \"-e\", \"/www\"]";
    engine.image("web:1", "one", &["EXPOSE 8080", "ENV COLOR=blue", "USER 0", check]);
    engine.image("bare:1", "bare", &[]);
    engine.said(&["network", "create", "shop"]);
    let words = "run -d --name full --network shop --label com.docker.compose.project=shop --label com.docker.compose.service=web \
                 -e COLOR=green -e DB_PASSWORD=hunter2 -p 127.0.0.1::8080 --expose 9000 --memory 64m --cpus 0.5 \
                 -v data:/data:ro -v /cache --stop-signal SIGQUIT web:1";
    engine.said(&words.split_whitespace().collect::<Vec<_>>());
    let hostile = "run -d --name a.b_c-1 --label x=<script> -e A=$(reboot) bare:1 /bin/httpd -f -p 81 -r --token=abc";
    engine.said(&hostile.split_whitespace().collect::<Vec<_>>());
    engine.said(&["create", "--name", "not-running", "web:1"]);
    let place = engine.place();
    let site = site(&place).await;
    assert_eq!((site.place, site.trouble.as_str()), (Place::Docker, ""));
    let names: Vec<&str> = site.found.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(names, ["a.b_c-1", "full"], "what does not run is not told");
    let Found { compose, image, command, user, ports, check, volumes, nameless, env, reach, .. } = &site.found[1];
    assert_eq!(compose, &Some(("shop".to_owned(), "web".to_owned())));
    assert_eq!((image.as_str(), command.as_slice(), user), ("web:1", &[][..], &None), "as its image says");
    let said = |value, by| Said { value, by };
    assert_eq!(ports, &[said(8080, Speaker::Image), said(9000, Speaker::Container)]);
    let test = ["CMD", "/bin/test", "-e", "/www"].map(str::to_owned).to_vec();
    let expected = Check { test, interval: Some(Millis::seconds(7)), start: Some(Millis::seconds(9)) };
    assert_eq!(check, &Some(Said { value: expected, by: Speaker::Image }));
    assert_eq!(
        (volumes.as_slice(), nameless.as_slice()),
        (&["data:/data:ro".to_owned()][..], &["/cache".to_owned()][..])
    );
    assert_eq!(site.found[1].stop_signal.as_deref(), Some("SIGQUIT"));
    assert_eq!((site.found[1].cpu, site.found[1].memory), (Some(500), Some(64 << 20)));
    assert_eq!(env.get("COLOR").map(String::as_str), Some("green"));
    assert!(env.contains_key("DB_PASSWORD") && !env.contains_key("PATH"), "{env:?}");
    let address = reach.address(8080).expect("an address");
    TcpStream::connect(address).expect("the container itself");
    let published = Reach { ip: None, ..reach.clone() }.address(8080).expect("where it is published");
    assert!(published.ip().is_loopback(), "{published}");
    let other = &site.found[0];
    assert_eq!((other.ports.as_slice(), &other.check, &other.compose), (&[][..], &None, &None));
    assert_eq!(other.reach.address(80), None, "it is on no network");
    assert_eq!(other.command, ["/bin/httpd", "-f", "-p", "81", "-r", "--token=abc"]);
    assert_eq!(other.env.get("A").map(String::as_str), Some("$(reboot)"));
}

#[tokio::test]
async fn containers_of_davy_are_not_told_and_an_engine_that_is_away_says_so() {
    let mut engine = Engine::start();
    engine.image("web:1", "one", &["EXPOSE 8080"]);
    engine.said(&["run", "-d", "--name", "other", "web:1"]);
    engine.said(&["run", "-d", "--name", "davys", "--label", "davy.home=0123", "web:1"]);
    let place = engine.place();
    let names: Vec<String> = site(&place).await.found.into_iter().map(|one| one.name).collect();
    assert_eq!(names, ["other"]);
    engine.end();
    let away = site(&place).await;
    assert!(away.found.is_empty() && away.trouble.contains("list the containers"), "{away:?}");
    assert!(away.hint.contains("start the engine"), "{away:?}");
    let nowhere = DockerPlatform::open(Options::at(engine.data().join("x"), Some("unix:///nowhere".to_owned())));
    let nowhere = nowhere.expect("a place");
    let never = site(&nowhere).await;
    assert!(never.found.is_empty() && never.trouble.contains("unix:///nowhere"), "{never:?}");
    let source = Source { folder: PathBuf::from("/") };
    let findings = nowhere.examine(&source, &workload("web:1", None)).await;
    assert!(matches!(findings.as_slice(), [Finding { well: Some(false), .. }]), "{findings:?}");
}

#[tokio::test]
async fn an_image_is_looked_at_and_not_fetched() {
    let engine = Engine::start();
    engine.image("web:1", "one", &["EXPOSE 8080"]);
    engine.image("two:1", "two", &["EXPOSE 8080", "EXPOSE 9000"]);
    let place = engine.place();
    let source = Source { folder: PathBuf::from("/") };
    let found = |image: &'static str, port| {
        let (place, source) = (place.clone(), source.clone());
        async move {
            let findings = place.examine(&source, &workload(image, port)).await;
            findings
                .into_iter()
                .map(|one| (one.what.clone(), one.well, format!("{} {}", one.says, one.hint)))
                .collect::<Vec<_>>()
        }
    };
    let well = found("web:1", None).await;
    let what: Vec<(&str, Option<bool>)> = well.iter().map(|(what, well, _)| (what.as_str(), *well)).collect();
    assert_eq!(what, [("engine", Some(true)), ("image", Some(true)), ("port", Some(true))], "{well:?}");
    let several = found("two:1", None).await;
    assert!(several[2].1 == Some(false) && several[2].2.contains("several ports"), "{several:?}");
    let other = found("web:1", Some(9000)).await;
    assert!(other[2].1.is_none() && other[2].2.contains("not 9000"), "{other:?}");
    // Those of one second come in any order.
    let images = || engine.said(&["images", "-q"]).lines().map(str::to_owned).collect::<BTreeSet<_>>();
    let before = images();
    let absent = found("127.0.0.1:9/absent:1", None).await;
    assert!(absent[1].1 == Some(false) && absent[1].2.contains("127.0.0.1:9"), "{absent:?}");
    assert_eq!(images(), before);
    assert!(!place.is_used(), "nothing was ordered");
}
