//! What the user does not want saved: gitignore patterns.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use ignore::Match;
use ignore::gitignore::{Gitignore, GitignoreBuilder};

use crate::error::{Error, ErrorKind, Result};

/// Patterns with the meaning they have in a `.gitignore` at the root of the source; the default excludes nothing.
///
/// The last pattern that fits decides, and `!` takes back. What lies in an excluded folder cannot be taken back,
/// because the folder is never entered.
#[derive(Clone, Debug)]
pub struct Excludes {
    patterns: Gitignore,
}

impl Default for Excludes {
    fn default() -> Self {
        Excludes { patterns: Gitignore::empty() }
    }
}

impl Excludes {
    /// Starts a set for the source at `root`, an absolute path.
    ///
    /// A pattern that begins with that path is taken as absolute: for `/home/ann`, `/home/ann/tmp` means `/tmp`.
    /// Any other pattern that begins with a slash starts at the root of the source. Only literal text is compared.
    pub fn builder(root: impl AsRef<Path>) -> ExcludesBuilder {
        ExcludesBuilder { root: root.as_ref().to_path_buf(), patterns: GitignoreBuilder::new("") }
    }

    /// Whether the patterns exclude this path itself. Folders above it are not considered: a walk asks about those
    /// first and does not enter them.
    pub fn matches(&self, path: &[u8], is_dir: bool) -> bool {
        !self.patterns.is_empty()
            && matches!(self.patterns.matched(Path::new(OsStr::from_bytes(path)), is_dir), Match::Ignore(_))
    }

    /// Whether this path or a folder above it is excluded, for a path that does not come from a walk.
    pub fn covers(&self, path: &[u8], is_dir: bool) -> bool {
        let above = path.iter().enumerate().filter(|&(_, &b)| b == b'/').map(|(slash, _)| &path[..slash]);
        above.into_iter().any(|folder| self.matches(folder, true)) || self.matches(path, is_dir)
    }

    /// Whether there is no pattern at all.
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }
}

/// Collects patterns; later ones win over earlier ones.
#[derive(Clone, Debug)]
pub struct ExcludesBuilder {
    root: PathBuf,
    patterns: GitignoreBuilder,
}

impl ExcludesBuilder {
    /// Adds one line as it would stand in a `.gitignore`: empty lines and `#` comments are fine.
    pub fn add_line(&mut self, line: &str) -> Result<&mut Self> {
        self.add(line)
            .map_err(|why| Error::new(ErrorKind::Pattern, "exclude", format!("{why} (in `{line}`)")))?;
        Ok(self)
    }

    /// Adds every line of a file in UTF-8; an error names the file and the line.
    pub fn add_file(&mut self, path: &Path) -> Result<&mut Self> {
        let cannot = |e| Error::io(path, "cannot read the patterns", e);
        let file = File::open(path).map_err(cannot)?;
        for (n, line) in BufReader::new(file).split(b'\n').enumerate() {
            let fail = |why| Error::new(ErrorKind::Pattern, path, format!("line {}: {why}", n + 1));
            let line = line.map_err(cannot)?;
            let line = std::str::from_utf8(&line).map_err(|_| fail("it is not UTF-8".into()))?;
            let line = if n == 0 { line.trim_start_matches('\u{feff}') } else { line };
            self.add(line).map_err(|why| fail(format!("{why} (in `{line}`)")))?;
        }
        Ok(self)
    }

    /// The finished set.
    pub fn build(&self) -> Result<Excludes> {
        let patterns = self.patterns.build().map_err(|e| {
            let what = format!("the patterns together cannot be used: {e}");
            Error::new(ErrorKind::Pattern, "exclude", what)
        })?;
        Ok(Excludes { patterns })
    }

    fn add(&mut self, line: &str) -> Result<(), String> {
        let line = reanchored(line, self.root.as_os_str().as_bytes())?;
        match self.patterns.add_line(None, &line) {
            Ok(_) => Ok(()),
            Err(ignore::Error::Glob { err, .. }) => Err(err),
            Err(e) => Err(e.to_string()),
        }
    }
}

/// The line with the absolute root taken off its front.
fn reanchored(line: &str, root: &[u8]) -> Result<String, String> {
    let (sign, pattern) = match line.strip_prefix('!') {
        Some(rest) => ("!", rest),
        None => ("", line),
    };
    let root = match root.iter().rposition(|&b| b != b'/') {
        Some(last) => &root[..=last],
        None => return Ok(line.into()),
    };
    match after_root(pattern, root) {
        Some(rest) if rest.trim_end().trim_end_matches('/').is_empty() => {
            Err("it excludes the whole source: leave the source out instead".into())
        }
        Some(rest) => Ok(format!("{sign}{rest}")),
        None => Ok(line.into()),
    }
}

/// What follows the root in a pattern, beginning with a slash or empty. `\` before a character stands for it.
fn after_root<'a>(pattern: &'a str, root: &[u8]) -> Option<&'a str> {
    let (text, mut at) = (pattern.as_bytes(), 0);
    for &wanted in root {
        if text.get(at) == Some(&b'\\') && text.get(at + 1) == Some(&wanted) {
            at += 2;
        } else if text.get(at) == Some(&wanted) {
            at += 1;
        } else {
            return None;
        }
    }
    let rest = pattern.get(at..)?;
    (rest.trim_end().is_empty() || rest.starts_with('/')).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn excludes(lines: &[&str]) -> Excludes {
        let mut builder = Excludes::builder("/home/ann");
        for line in lines {
            builder.add_line(line).unwrap();
        }
        builder.build().unwrap()
    }

    #[test]
    fn means_what_gitignore_means() {
        // patterns, path (a final slash marks a folder), excluded
        let table: &[(&[&str], &[u8], bool)] = &[
            (&[], b"a", false),
            (&["# a", "", "   "], b"a", false),
            (&["\\#a"], b"#a", true),
            (&["*.o"], b"x.o", true),
            (&["*.o"], b"deep/er/x.o", true),
            (&["*.o"], b"x.oo", false),
            (&["/x"], b"x", true),
            (&["/x"], b"sub/x", false),
            (&["a/b"], b"a/b", true),
            (&["a/b"], b"x/a/b", false),
            (&["**/a/b"], b"x/a/b", true),
            (&["a/**"], b"a/", false),
            (&["a/**"], b"a/x/y", true),
            (&["a/**/z"], b"a/z", true),
            (&["a/**/z"], b"a/b/c/z", true),
            (&["d/"], b"d/", true),
            (&["d/"], b"x/d/", true),
            (&["d/"], b"d", false),
            (&["*.log", "!keep.log"], b"keep.log", false),
            (&["*.log", "!keep.log"], b"x/other.log", true),
            (&["!keep.log", "*.log"], b"keep.log", true),
            (&["d", "!d/x"], b"d/x", true),
            (&["d/*", "!d/x"], b"d/x", false),
            (&["d/*", "!d/x"], b"d/y", true),
            (&["a?c"], b"abc", true),
            (&["a?c"], b"a/c", false),
            (&["*"], b"a", true),
            (&["a*c"], b"a\xffc", true),
            (&["*.o"], b"\xff\xfe.o", true),
            (&["[a-c]x"], b"bx", true),
            (&["[!a-c]x"], b"bx", false),
            (&["\\*"], b"*", true),
            (&["\\*"], b"x", false),
            (&["a "], b"a", true),
            (&["a\\ "], b"a ", true),
            (&["A"], b"a", false),
            (&["/home/ann/tmp"], b"tmp/", true),
            (&["/home/ann/tmp"], b"x/tmp/", false),
            (&["*.log", "!/home/ann/keep.log"], b"keep.log", false),
            (&["/home/ann/*.o"], b"x.o", true),
            (&["/home/ann/*"], b"x", true),
            (&["/home\\/\\ann/x"], b"x", true),
            (&["/home/anna/x"], b"x", false),
            (&["home/ann/x"], b"x", false),
            (&["/proc"], b"proc/", true),
        ];
        for (lines, path, excluded) in table {
            let is_dir = path.ends_with(b"/");
            let path = path.strip_suffix(b"/").unwrap_or(path);
            let got = excludes(lines).covers(path, is_dir);
            assert_eq!(got, *excluded, "{lines:?} on {}", String::from_utf8_lossy(path));
        }
    }

    #[test]
    fn errors_name_file_and_line() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "\u{feff}*.o\n\n/ok\r\na{b\n").unwrap();
        let mut builder = Excludes::builder("/");
        let error = builder.add_file(file.path()).map(|_| ()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Pattern);
        assert!(error.to_string().contains("line 4") && error.to_string().contains("a{b"), "{error}");
        let excludes = builder.build().unwrap();
        assert!(excludes.matches(b"x.o", false) && excludes.matches(b"ok", false));

        std::fs::write(file.path(), b"fine\n\xff\n").unwrap();
        let error = Excludes::builder("/").add_file(file.path()).map(|_| ()).unwrap_err();
        assert!(error.to_string().contains("line 2"), "{error}");
        let missing = Excludes::builder("/").add_file(Path::new("/nonexistent/x")).map(|_| ()).unwrap_err();
        assert_eq!(missing.kind(), ErrorKind::NotFound);
        for whole in ["/home/ann", "/home/ann/", "!/home/ann/ "] {
            let error = Excludes::builder("/home/ann/").add_line(whole).map(|_| ()).unwrap_err();
            assert!(error.to_string().contains("whole source"), "{error}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_name_and_no_pattern_panics(
            lines in proptest::collection::vec(".{0,12}", 0..4),
            path in proptest::collection::vec(1_u8..=255, 0..24),
        ) {
            let mut builder = Excludes::builder("/home/ann");
            for line in lines {
                let _ = builder.add_line(&line);
            }
            if let Ok(excludes) = builder.build() {
                excludes.covers(&path, false);
            }
        }
    }
}
