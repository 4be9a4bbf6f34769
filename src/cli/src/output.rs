//! Standard output: lines for people, or one JSON object a line for programs. Standard error: what is not a result.

use std::io::{self, BufWriter, IsTerminal, Stdout, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;

use crate::args::GlobalArgs;
use crate::error::{Failure, Result};
use crate::table::Table;

/// How results are shown.
pub struct Output {
    json: bool,
    quiet: bool,
    verbose: bool,
    /// Whether progress is wanted.
    pub progress: bool,
    stdout_is_terminal: bool,
    bold: bool,
    red: bool,
    stdout: Mutex<BufWriter<Stdout>>,
    /// Standard output carries data: JSON goes to standard error.
    carries_data: bool,
}

#[derive(Serialize)]
struct ErrorLine<'a> {
    code: u8,
    message: &'a str,
    hint: &'a str,
}

#[derive(Serialize)]
struct Warning<'a> {
    message: &'a str,
}

impl Output {
    /// As the arguments want it.
    #[must_use]
    pub fn new(args: &GlobalArgs, carries_data: bool) -> Self {
        let color = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
            && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        let stdout_is_terminal = io::stdout().is_terminal();
        Self {
            json: args.json,
            quiet: args.quiet,
            verbose: args.verbose > 0,
            progress: !args.quiet && !args.no_progress,
            bold: color && stdout_is_terminal && !args.json,
            red: color && io::stderr().is_terminal(),
            stdout_is_terminal,
            stdout: Mutex::new(BufWriter::with_capacity(64 << 10, io::stdout())),
            carries_data,
        }
    }

    /// Whether programs read this.
    #[must_use]
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// Whether people see only what went wrong.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.quiet && !self.json
    }

    /// Whether somebody sees standard output at once.
    #[must_use]
    pub fn is_terminal(&self) -> bool {
        self.stdout_is_terminal && !self.json
    }

    /// A line for people, unless they asked for quiet.
    ///
    /// # Errors
    /// When standard output fails.
    pub fn say(&self, line: impl AsRef<str>) -> Result<()> {
        if self.json || self.quiet { Ok(()) } else { self.line(line.as_ref(), true) }
    }

    /// A line of the result itself.
    ///
    /// # Errors
    /// When standard output fails.
    pub fn data(&self, line: impl AsRef<str>) -> Result<()> {
        if self.json { Ok(()) } else { self.line(line.as_ref(), self.stdout_is_terminal) }
    }

    /// A table that is the result itself, with a bold heading.
    ///
    /// # Errors
    /// When standard output fails.
    pub fn table(&self, table: &Table) -> Result<()> {
        let lines = table.lines();
        let (heading, rows) = lines.split_first().expect("a table has a heading");
        self.data(self.bold(heading))?;
        rows.iter().try_for_each(|row| self.data(row))
    }

    /// An object for programs, whose first field is its type.
    ///
    /// # Errors
    /// When standard output fails.
    pub fn json(&self, kind: &str, value: &impl Serialize) -> Result<()> {
        if self.json { self.line(&typed(kind, value), true) } else { Ok(()) }
    }

    /// The same, without making sure that it is seen at once: for long lists.
    ///
    /// # Errors
    /// When standard output fails.
    pub fn json_item(&self, kind: &str, value: &impl Serialize) -> Result<()> {
        if self.json { self.line(&typed(kind, value), false) } else { Ok(()) }
    }

    /// The last object for programs.
    ///
    /// # Errors
    /// When standard output fails.
    pub fn summary(&self, value: &impl Serialize) -> Result<()> {
        self.json("summary", value)
    }

    /// The text, bold where that can be shown.
    #[must_use]
    pub fn bold(&self, text: &str) -> String {
        if self.bold { format!("\x1b[1m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// Something that is not as it should be.
    pub fn warning(&self, message: &str) {
        if self.json {
            let _ = self.json("warning", &Warning { message });
        } else {
            self.complain("warning", message);
        }
    }

    /// What belongs to a warning.
    pub fn remark(&self, message: &str) {
        if !self.json {
            self.complain("", message);
        }
    }

    /// A detail, for those who asked for many.
    pub fn detail(&self, message: &str) {
        if self.verbose && !self.json {
            self.complain("", message);
        }
    }

    /// Whether details are wanted.
    #[must_use]
    pub fn is_verbose(&self) -> bool {
        self.verbose
    }

    /// Why the command failed.
    pub fn failure(&self, failure: &Failure) {
        if failure.silent {
            return;
        }
        if self.json {
            let (code, message, hint) = (failure.exit.code(), &*failure.message, &*failure.hint);
            let _ = self.json("error", &ErrorLine { code, message, hint });
            return;
        }
        let _ = self.flush();
        self.complain("error", &failure.message);
        if !failure.hint.is_empty() {
            eprintln_quietly(&format!("  {}", failure.hint));
        }
    }

    /// Hands everything to whoever reads it.
    ///
    /// # Errors
    /// When standard output fails.
    pub fn flush(&self) -> Result<()> {
        self.stdout().flush().map_err(|e| Failure::stdout(&e))
    }

    fn complain(&self, kind: &str, message: &str) {
        let label = match (kind, self.red) {
            ("", _) => String::new(),
            (_, true) => format!("\x1b[1;31m{kind}:\x1b[0m "),
            (_, false) => format!("{kind}: "),
        };
        eprintln_quietly(&format!("{label}{message}"));
    }

    fn line(&self, line: &str, now: bool) -> Result<()> {
        if self.carries_data {
            eprintln_quietly(line);
            return Ok(());
        }
        let mut out = self.stdout();
        let written = out.write_all(line.as_bytes()).and_then(|()| out.write_all(b"\n"));
        written.and_then(|()| if now { out.flush() } else { Ok(()) }).map_err(|e| Failure::stdout(&e))
    }

    fn stdout(&self) -> MutexGuard<'_, BufWriter<Stdout>> {
        self.stdout.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A line on standard error; that nobody can read it is no reason to stop.
pub fn eprintln_quietly(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

fn typed(kind: &str, value: &impl Serialize) -> String {
    let text = serde_json::to_string(value).unwrap_or_else(|_| "{}".into());
    let fields = text.strip_prefix('{').unwrap_or("}");
    let comma = if fields == "}" { "" } else { "," };
    format!("{{\"type\":\"{kind}\"{comma}{fields}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_type_is_the_first_field() {
        #[derive(Serialize)]
        struct Empty {}
        assert_eq!(typed("warning", &Warning { message: "m\"" }), r#"{"type":"warning","message":"m\""}"#);
        assert_eq!(typed("summary", &Empty {}), r#"{"type":"summary"}"#);
    }
}
