//! Sign-in codes: few, short-lived, used once, in memory as digests only.

use super::{Grant, digest, draw};
use davy_core::{Millis, Timestamp};
use davy_ports::Error;
use std::sync::{Mutex, MutexGuard, PoisonError};
use subtle::ConstantTimeEq;

/// So long a code is worth something.
pub(super) const LENGTH: Millis = Millis::seconds(600);
/// So many at once: more are a mistake, and each makes a guess more likely.
const MOST: usize = 32;
/// The digits of Crockford's base 32: no letter among them that is read as a digit.
const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// 40 bits: the server takes so few wrong tries that ten minutes are far too short to find one.
const CHARACTERS: usize = 8;

#[derive(Default)]
pub(super) struct Codes(Mutex<Vec<Code>>);

/// A code that can still be used.
pub(super) struct Code {
    hash: [u8; 32],
    expires: Timestamp,
    pub(super) grant: Grant,
}

impl Codes {
    fn lock(&self) -> MutexGuard<'_, Vec<Code>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes one, as it is to be typed.
    pub(super) fn make(&self, grant: Grant, at: Timestamp) -> Result<(String, Timestamp), Error> {
        let drawn = draw("make a sign-in code")?;
        let mut code: String =
            drawn.iter().take(CHARACTERS).map(|byte| char::from(DIGITS[usize::from(byte % 32)])).collect();
        let expires = at.plus(LENGTH);
        let mut all = self.lock();
        all.retain(|known| known.expires > at);
        if all.len() >= MOST {
            all.remove(0);
        }
        all.push(Code { hash: digest(&code), expires, grant });
        code.insert(CHARACTERS / 2, '-');
        Ok((code, expires))
    }

    /// Takes a code, so that nobody else can; none when it is not there.
    pub(super) fn take(&self, typed: &str, at: Timestamp) -> Option<Code> {
        let hash = digest(&read(typed));
        let mut all = self.lock();
        all.retain(|known| known.expires > at);
        let mut found = None;
        // All are compared, each in constant time: how long it takes says nothing.
        for (index, known) in all.iter().enumerate() {
            if bool::from(known.hash.ct_eq(&hash)) {
                found = Some(index);
            }
        }
        found.map(|index| all.remove(index))
    }

    /// Puts one back that could not be used for no fault of its own.
    pub(super) fn put_back(&self, code: Code) {
        self.lock().push(code);
    }
}

/// What was meant by what was typed.
fn read(typed: &str) -> String {
    let digit = |typed: char| match typed.to_ascii_uppercase() {
        'O' => Some('0'),
        'I' | 'L' => Some('1'),
        '-' | ' ' => None,
        other => Some(other),
    };
    // No more is read of what cannot be a code.
    typed.chars().take(4 * CHARACTERS).filter_map(digit).collect()
}

#[cfg(test)]
mod tests {
    use super::{Codes, LENGTH, MOST};
    use crate::{Role, access::Grant};
    use davy_core::{Actor, Millis, Timestamp};

    const NOW: Timestamp = Timestamp(1_000_000);

    fn grant(name: &str) -> Grant {
        Grant { actor: Actor::new(name), role: Role::Viewer, environments: Vec::new(), behind: None }
    }

    fn who(codes: &Codes, typed: &str, at: Timestamp) -> Option<String> {
        codes.take(typed, at).map(|code| code.grant.actor.to_string())
    }

    #[test]
    fn a_code_works_once_and_for_ten_minutes() {
        let codes = Codes::default();
        let (code, expires) = codes.make(grant("lena"), NOW).unwrap();
        assert_eq!((code.len(), code.as_bytes()[4], expires), (9, b'-', NOW.plus(LENGTH)));
        assert!(code.chars().all(|c| c == '-' || (c.is_ascii_alphanumeric() && !"ILOUilou".contains(c))), "{code}");
        assert_eq!(who(&codes, "ABCD-EFGH-", NOW), None);
        assert_eq!(who(&codes, "", NOW), None);
        assert_eq!(who(&codes, &code, NOW.plus(Millis(LENGTH.0 - 1))).as_deref(), Some("lena"));
        assert_eq!(who(&codes, &code, NOW), None, "used");
        let (code, _) = codes.make(grant("lena"), NOW).unwrap();
        assert_eq!(who(&codes, &code, NOW.plus(LENGTH)), None, "old");
    }

    #[test]
    fn it_is_read_as_people_type_it() {
        let codes = Codes::default();
        // Both characters that are mistaken for others come sooner or later.
        let mut seen = [false; 2];
        while seen != [true; 2] {
            let (code, _) = codes.make(grant("lena"), NOW).unwrap();
            seen = [seen[0] || code.contains('0'), seen[1] || code.contains('1')];
            let typed = code.to_lowercase().replace('-', " ").replace('0', "o").replace('1', "l");
            assert_eq!(who(&codes, &format!(" {typed} "), NOW).as_deref(), Some("lena"), "{code}: {typed}");
        }
    }

    #[test]
    fn there_are_few_at_once() {
        let codes = Codes::default();
        let (first, _) = codes.make(grant("lena"), NOW).unwrap();
        let others: Vec<_> = (0..MOST).map(|_| codes.make(grant("mira"), NOW).unwrap().0).collect();
        assert_eq!(who(&codes, &first, NOW), None, "the oldest goes");
        assert!(others.iter().all(|code| who(&codes, code, NOW).is_some()));
    }
}
