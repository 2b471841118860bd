//! Who may come in, and as what: the first rule that fits.

use crate::{House, Person, Refused, Vouched};
use davy_config::{Rule, Who};

pub(crate) fn apply(house: &House, vouched: Vouched) -> Result<Person, Refused> {
    let rule = house.provider.may.iter().find(|rule| fits(rule, &vouched));
    let Some(Rule { role, environments, .. }) = rule else {
        let by_email = house.provider.may.iter().any(|rule| matches!(rule.who, Who::Email(_) | Who::Domain(_)));
        return Err(match vouched.unverified && by_email {
            true => Refused::Unverified(vouched.name),
            false => Refused::NotAllowed(vouched.name),
        });
    };
    Ok(Person { name: vouched.name, role, environments: environments.clone(), kind: house.kind() })
}

fn fits(rule: &Rule, vouched: &Vouched) -> bool {
    let has = |all: &[String], wanted: &str| all.iter().any(|one| one.eq_ignore_ascii_case(wanted));
    let email = vouched.email.as_deref();
    match &rule.who {
        // Those of an OpenID provider are told apart by every letter.
        Who::Group(group) => vouched.groups.iter().any(|one| one == group),
        Who::Email(wanted) => email.is_some_and(|email| email.eq_ignore_ascii_case(wanted)),
        Who::Domain(wanted) => email
            .and_then(|email| email.rsplit_once('@'))
            .is_some_and(|(_, domain)| domain.eq_ignore_ascii_case(wanted)),
        Who::Team(team) => has(&vouched.teams, team),
        Who::Organisation(organisation) => has(&vouched.organisations, organisation),
        Who::Login(login) => vouched.login.as_deref().is_some_and(|known| known.eq_ignore_ascii_case(login)),
    }
}

#[cfg(test)]
mod tests {
    use super::fits;
    use crate::Vouched;
    use davy_config::{Rule, Who};

    #[test]
    fn whom_a_rule_is_for() {
        let text = str::to_owned;
        let lena = Vouched {
            name: text("lena"),
            email: Some(text("Lena@Example.com")),
            groups: vec![text("shop")],
            teams: vec![text("Example/Platform")],
            organisations: vec![text("example")],
            login: Some(text("Lena")),
            unverified: false,
        };
        let is = |who: Who, vouched: &Vouched| fits(&Rule { who, role: "viewer", environments: Vec::new() }, vouched);
        for who in [
            Who::Email(text("lena@example.com")),
            Who::Domain(text("example.com")),
            Who::Group(text("shop")),
            Who::Team(text("example/platform")),
            Who::Organisation(text("Example")),
            Who::Login(text("lena")),
        ] {
            assert!(is(who.clone(), &lena), "{who:?}");
            assert!(!is(who.clone(), &Vouched::default()), "{who:?}");
        }
        for who in [
            Who::Email(text("lena@example.co")),
            Who::Domain(text("ample.com")),
            Who::Domain(text("com")),
            Who::Group(text("Shop")),
            Who::Team(text("example/plat")),
            Who::Organisation(text("exampl")),
            Who::Login(text("len")),
        ] {
            assert!(!is(who.clone(), &lena), "{who:?}");
        }
        let odd = Vouched { email: Some(text("a@example.com@evil.com")), ..Vouched::default() };
        assert!(!is(Who::Domain(text("example.com")), &odd));
    }
}
