use crate::Secret;

/// The name and password for `host` in the text of a `.netrc`; an entry with another name than `user` is passed over.
///
/// The first entry that fits is taken, `default` among them, as `curl` and `ftp` do. Macros are skipped.
#[must_use]
pub fn find(netrc: &str, host: &str, user: Option<&str>) -> Option<(String, Secret)> {
    let mut entry: Option<Entry> = None;
    let mut words = words(netrc);
    while let Some(word) = words.next() {
        let begins = match word.as_str() {
            "machine" => Some(words.next().is_some_and(|name| name.eq_ignore_ascii_case(host))),
            "default" => Some(true),
            _ => None,
        };
        if let Some(fits) = begins {
            if let Some(found) = entry.take().and_then(|entry| entry.finish(user)) {
                return Some(found);
            }
            entry = fits.then(Entry::default);
            continue;
        }
        let value = match word.as_str() {
            "login" | "password" | "account" => words.next(),
            _ => None,
        };
        if let (Some(entry), Some(value)) = (&mut entry, value) {
            match word.as_str() {
                "login" => entry.login = Some(value),
                "password" => entry.password = Some(value),
                _ => {}
            }
        }
    }
    entry.and_then(|entry| entry.finish(user))
}

#[derive(Default)]
struct Entry {
    login: Option<String>,
    password: Option<String>,
}

impl Entry {
    fn finish(self, user: Option<&str>) -> Option<(String, Secret)> {
        let login = match (self.login, user) {
            (Some(login), Some(user)) if login != user => return None,
            (Some(login), _) => login,
            (None, Some(user)) => user.to_owned(),
            (None, None) => return None,
        };
        Some((login, self.password?.into()))
    }
}

/// The words of the text, without comments and macros. A word may stand in double quotes, with `\` before what is meant as it is.
fn words(text: &str) -> impl Iterator<Item = String> {
    let mut in_macro = false;
    let lines = text.lines().filter(move |line| {
        // A macro goes on to the next empty line.
        in_macro =
            if in_macro { !line.trim().is_empty() } else { line.split_whitespace().next() == Some("macdef") };
        !in_macro
    });
    lines.flat_map(line_words)
}

fn line_words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut chars = line.chars().peekable();
    while let Some(first) = chars.next() {
        if first.is_whitespace() {
            continue;
        }
        if first == '#' {
            break;
        }
        let mut word = String::new();
        if first == '"' {
            while let Some(c) = chars.next() {
                match c {
                    '"' => break,
                    '\\' => word.extend(chars.next()),
                    c => word.push(c),
                }
            }
        } else {
            word.push(first);
            while let Some(c) = chars.next_if(|c| !c.is_whitespace()) {
                word.push(c);
            }
        }
        words.push(word);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# mine\nmachine a.org login ann password one\nmachine b.org\n  login bob\n  password \"t w\\\"o\"\n\
                        macdef init\nmachine c.org login eve password bad\n\nmachine c.org login cat password three#4\n\
                        machine a.org login amy password five\ndefault login any password six\n";

    #[test]
    fn finds_the_first_entry_that_fits() {
        let table = [
            ("a.org", None, Some(("ann", "one"))),
            ("A.ORG", None, Some(("ann", "one"))),
            ("a.org", Some("amy"), Some(("amy", "five"))),
            ("b.org", None, Some(("bob", "t w\"o"))),
            ("c.org", None, Some(("cat", "three#4"))),
            ("d.org", None, Some(("any", "six"))),
            ("d.org", Some("eve"), None),
        ];
        for (host, user, expected) in table {
            let found = find(TEXT, host, user);
            let found = found.as_ref().map(|(login, password)| (login.as_str(), password.reveal()));
            assert_eq!(found, expected, "{host} {user:?}");
        }
        assert_eq!(find("", "a.org", None), None);
        assert_eq!(find("machine a.org login ann", "a.org", None), None);
        assert_eq!(find("machine", "a.org", None), None);
    }
}
