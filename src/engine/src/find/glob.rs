//! Patterns for names and paths: `*`, `?`, `[a-z]`, `[!a-z]`, `\` before a character that means itself, and `**` for any
//! number of folders. A character that is not UTF-8 is one character. Matching takes no more than length times length.

use crate::{Error, Result};

/// Bytes that are not UTF-8 come behind all characters.
const RAW: u32 = 0x11_0000;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Exactly(u32),
    One,
    Any,
    Class { negated: bool, ranges: Vec<(u32, u32)> },
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    /// `**`: any number of folders, none too.
    Folders,
    Name(Vec<Token>),
}

/// A pattern.
///
/// One without a slash is for the last name of a path. One with a slash is for the whole path, from anywhere on unless it
/// begins with the slash. One that ends in a slash is for folders only.
#[derive(Clone, Debug)]
pub struct Pattern {
    parts: Vec<Part>,
    whole_path: bool,
    only_folders: bool,
    ignore_case: bool,
}

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// [`Error::Invalid`] when it is empty, or ends within a class or behind a backslash.
    pub fn new(text: &[u8], ignore_case: bool) -> Result<Self> {
        let bad =
            |why: &str| Error::Invalid(format!("the pattern {:?} {why}", String::from_utf8_lossy(text)));
        let only_folders = text.ends_with(b"/");
        let whole_path = text.contains(&b'/');
        let mut parts = Vec::new();
        if whole_path && !text.starts_with(b"/") {
            parts.push(Part::Folders);
        }
        for name in text.split(|&b| b == b'/').filter(|name| !name.is_empty()) {
            let part = match name {
                b"**" if whole_path => Part::Folders,
                name => Part::Name(tokens(&units(name), ignore_case).map_err(bad)?),
            };
            // Two in a row mean the same as one.
            if part != Part::Folders || parts.last() != Some(&Part::Folders) {
                parts.push(part);
            }
        }
        if parts.iter().all(|part| *part == Part::Folders) {
            return Err(bad("fits everything or nothing: give a name, or a part of one"));
        }
        Ok(Self { parts, whole_path, only_folders, ignore_case })
    }

    /// Whether it fits what lies at this absolute path.
    #[must_use]
    pub fn fits(&self, path: &[u8], is_folder: bool) -> bool {
        if self.only_folders && !is_folder {
            return false;
        }
        let names: Vec<&[u8]> = path.split(|&b| b == b'/').filter(|name| !name.is_empty()).collect();
        let Some(last) = names.last() else { return false };
        // The last name tells most of them apart at once.
        if let Some(Part::Name(tokens)) = self.parts.last()
            && !self.fits_name(tokens, last)
        {
            return false;
        }
        !self.whole_path || self.fits_names(&names)
    }

    fn fits_names(&self, names: &[&[u8]]) -> bool {
        let (mut part, mut name) = (0, 0);
        // Where to go on if what follows does not fit: the last `**` takes one folder more.
        let mut again = None;
        loop {
            match self.parts.get(part) {
                None if name == names.len() => return true,
                Some(Part::Folders) => {
                    again = Some((part + 1, name));
                    part += 1;
                    continue;
                }
                Some(Part::Name(tokens))
                    if names.get(name).is_some_and(|name| self.fits_name(tokens, name)) =>
                {
                    (part, name) = (part + 1, name + 1);
                    continue;
                }
                _ => {}
            }
            match &mut again {
                Some((behind, taken)) if *taken < names.len() => {
                    *taken += 1;
                    (part, name) = (*behind, *taken);
                }
                _ => return false,
            }
        }
    }

    fn fits_name(&self, tokens: &[Token], name: &[u8]) -> bool {
        let units = units(name);
        let (mut token, mut unit) = (0, 0);
        let mut again = None;
        loop {
            match tokens.get(token) {
                None if unit == units.len() => return true,
                Some(Token::Any) => {
                    again = Some((token + 1, unit));
                    token += 1;
                    continue;
                }
                Some(one) if units.get(unit).is_some_and(|unit| self.fits_unit(one, *unit)) => {
                    (token, unit) = (token + 1, unit + 1);
                    continue;
                }
                _ => {}
            }
            match &mut again {
                Some((behind, taken)) if *taken < units.len() => {
                    *taken += 1;
                    (token, unit) = (*behind, *taken);
                }
                _ => return false,
            }
        }
    }

    fn fits_unit(&self, token: &Token, unit: u32) -> bool {
        let unit = if self.ignore_case { lower(unit) } else { unit };
        match token {
            Token::Exactly(wanted) => *wanted == unit,
            Token::One | Token::Any => true,
            Token::Class { negated, ranges } => {
                let within = |unit: u32| ranges.iter().any(|(from, to)| (*from..=*to).contains(&unit));
                let hit = within(unit) || (self.ignore_case && within(upper(unit)));
                hit != *negated
            }
        }
    }
}

fn units(bytes: &[u8]) -> Vec<u32> {
    let mut units = Vec::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        units.extend(chunk.valid().chars().map(u32::from));
        units.extend(chunk.invalid().iter().map(|byte| RAW + u32::from(*byte)));
    }
    units
}

fn tokens(units: &[u32], ignore_case: bool) -> Result<Vec<Token>, &'static str> {
    let is = |unit: Option<&u32>, c: char| unit == Some(&u32::from(c));
    let exactly = |unit: u32| Token::Exactly(if ignore_case { lower(unit) } else { unit });
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(unit) = units.get(at) {
        at += 1;
        let token = match char::from_u32(*unit) {
            Some('*') if tokens.last() == Some(&Token::Any) => continue,
            Some('*') => Token::Any,
            Some('?') => Token::One,
            Some('\\') => {
                let literal = units.get(at).ok_or("ends in a backslash")?;
                at += 1;
                exactly(*literal)
            }
            Some('[') => {
                let negated = is(units.get(at), '!') || is(units.get(at), '^');
                at += usize::from(negated);
                let mut ranges = Vec::new();
                // A bracket that comes first means itself.
                while ranges.is_empty() || !is(units.get(at), ']') {
                    let from = *units.get(at).ok_or("has a [ that is not closed")?;
                    at += 1;
                    let to = match (is(units.get(at), '-'), units.get(at + 1)) {
                        (true, Some(to)) if *to != u32::from(']') => {
                            at += 2;
                            *to
                        }
                        _ => from,
                    };
                    ranges.push((from, to));
                }
                at += 1;
                Token::Class { negated, ranges }
            }
            _ => exactly(*unit),
        };
        tokens.push(token);
    }
    Ok(tokens)
}

fn lower(unit: u32) -> u32 {
    mapped(unit, |c| single(c.to_lowercase()))
}

fn upper(unit: u32) -> u32 {
    mapped(unit, |c| single(c.to_uppercase()))
}

fn mapped(unit: u32, map: impl Fn(char) -> Option<char>) -> u32 {
    char::from_u32(unit).and_then(map).map_or(unit, u32::from)
}

fn single(mut chars: impl Iterator<Item = char>) -> Option<char> {
    let first = chars.next();
    if chars.next().is_none() { first } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fits_what_it_says() {
        let table: &[(&[u8], &[u8], bool)] = &[
            (b"a.txt", b"/home/a.txt", true),
            (b"a.txt", b"/a.txt/b", false),
            (b"*.txt", b"/x/.txt", true),
            (b"*.txt", b"/x/a.txts", false),
            (b"*a*b*", b"/xxaxxbxx", true),
            (b"*a*b*", b"/xxbxxaxx", false),
            (b"a**b", b"/axyb", true),
            (b"?", "/ä".as_bytes(), true),
            (b"?", b"/\xff", true),
            (b"??", "/ä".as_bytes(), false),
            (b"\xff*", b"/\xffx", true),
            (b"[a-c]x", b"/bx", true),
            (b"[!a-c]x", b"/bx", false),
            (b"[^a-c]x", b"/dx", true),
            (b"[]x]", b"/]", true),
            (b"[a-]", b"/-", true),
            (b"\\*", b"/*", true),
            (b"\\*", b"/x", false),
            (b"A", b"/a", false),
            (b"/a/b", b"/a/b", true),
            (b"/a/b", b"/x/a/b", false),
            (b"a/b", b"/x/a/b", true),
            (b"a/*", b"/a/b", true),
            (b"a/*", b"/a/b/c", false),
            (b"/a/**/z", b"/a/z", true),
            (b"/a/**/z", b"/a/b/c/z", true),
            (b"/a/**/z", b"/b/a/z", false),
            (b"/a/**", b"/a/b/c", true),
            (b"**/b/**/d", b"/a/b/b/c/d", true),
            (b"/*/b/*/d", b"/a/b/c/d", true),
            (b"d/", b"/x/d", false),
            (b"x", b"/", false),
        ];
        for (pattern, path, fits) in table {
            let got = Pattern::new(pattern, false).unwrap().fits(path, false);
            assert_eq!(
                got,
                *fits,
                "{} on {}",
                String::from_utf8_lossy(pattern),
                String::from_utf8_lossy(path)
            );
        }
        assert!(Pattern::new(b"d/", false).unwrap().fits(b"/x/d", true));
        for (pattern, path) in [("ÄB[C-D]*", "/äbcX"), ("äb[c-d]*", "/ÄBDx"), ("MixED", "/mIXed")] {
            assert!(
                Pattern::new(pattern.as_bytes(), true).unwrap().fits(path.as_bytes(), false),
                "{pattern} on {path}"
            );
        }
    }

    #[test]
    fn refuses_what_means_nothing() {
        for pattern in [&b""[..], b"/", b"**/", b"[a", b"[", b"a\\", b"x/[!"] {
            assert!(matches!(Pattern::new(pattern, false), Err(Error::Invalid(_))), "{pattern:?}");
        }
    }

    #[test]
    fn hard_patterns_take_no_time() {
        let pattern = Pattern::new("*a".repeat(100).as_bytes(), false).unwrap();
        assert!(!pattern.fits(format!("/{}b", "a".repeat(250)).as_bytes(), false));
        let pattern = Pattern::new("**/a/".repeat(50).as_bytes(), false).unwrap();
        assert!(!pattern.fits("/a/b".repeat(5000).as_bytes(), true));
    }

    proptest::proptest! {
        #[test]
        fn no_pattern_and_no_name_panics(
            pattern in proptest::collection::vec(proptest::sample::select(b"ab*?[]!-\\/\xff".to_vec()), 0..12),
            path in proptest::collection::vec(proptest::sample::select(b"ab]-/\xff".to_vec()), 0..12),
        ) {
            if let Ok(pattern) = Pattern::new(&pattern, false) {
                let _ = pattern.fits(&path, true);
            }
        }
    }
}
