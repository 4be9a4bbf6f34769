//! A question on the terminal whose answer is not shown.

use std::io::{self, IsTerminal, Stdin, Write};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use zeroize::{Zeroize, Zeroizing};

use crate::error::{Failure, Result};
use crate::exit::Exit;

/// Longest answer, in bytes.
const MAX: usize = 4096;

const INTERRUPT: u8 = 3;
const END: u8 = 4;
const BACKSPACE: [u8; 2] = [8, 127];
const KILL_LINE: u8 = 21;

/// Whether somebody is there to answer.
#[must_use]
pub fn is_attended() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Asks, and returns the answer.
///
/// # Errors
/// When there is none: the user stopped it, or the terminal went away.
pub fn ask(question: &str) -> Result<Zeroizing<String>> {
    let no_answer = |why: &str| {
        Failure::key(
            format!("the question on the terminal: {why}"),
            "run it again, or name a key with --key-file",
        )
    };
    let stdin = io::stdin();
    let _ = write!(io::stderr(), "{question}: ").and_then(|()| io::stderr().flush());
    let hidden = Hidden::begin(&stdin).map_err(|e| no_answer(&e.to_string()))?;
    let mut line = Line(Zeroizing::new(Vec::with_capacity(MAX + 1)));
    let ended = loop {
        let mut byte = [0];
        match rustix::io::read(&stdin, &mut byte) {
            Ok(0) => break Ended::Nothing,
            Ok(_) => match line.add(byte[0]) {
                Some(ended) => break ended,
                None => byte.zeroize(),
            },
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => break Ended::Nothing,
        }
    };
    drop(hidden);
    let _ = writeln!(io::stderr());
    match ended {
        Ended::Interrupted => Err(Failure::new(Exit::Interrupted, "interrupted", "nothing was done")),
        Ended::Nothing => Err(no_answer("there was no answer")),
        Ended::Answer => line.text().ok_or_else(|| no_answer("the answer was empty, or no text")),
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Ended {
    Answer,
    Interrupted,
    Nothing,
}

/// What was typed so far; never moved while it grows, so that no copy is left behind.
struct Line(Zeroizing<Vec<u8>>);

impl Line {
    fn add(&mut self, byte: u8) -> Option<Ended> {
        match byte {
            b'\n' | b'\r' => return Some(Ended::Answer),
            INTERRUPT => return Some(Ended::Interrupted),
            END => return Some(if self.0.is_empty() { Ended::Nothing } else { Ended::Answer }),
            KILL_LINE => self.0.clear(),
            byte if BACKSPACE.contains(&byte) => {
                // A character may be several bytes.
                while self.0.pop().is_some_and(|last| last & 0xc0 == 0x80) {}
            }
            byte if self.0.len() < MAX => self.0.push(byte),
            _ => {}
        }
        None
    }

    fn text(self) -> Option<Zeroizing<String>> {
        let text = std::str::from_utf8(&self.0).ok().filter(|text| !text.is_empty())?;
        Some(Zeroizing::new(text.to_owned()))
    }
}

/// While this lives nothing that is typed is shown, and Ctrl-C is a byte like others: whatever happens, the terminal is as it
/// was afterwards.
struct Hidden<'a> {
    stdin: &'a Stdin,
    before: Termios,
}

impl<'a> Hidden<'a> {
    fn begin(stdin: &'a Stdin) -> rustix::io::Result<Self> {
        let before = tcgetattr(stdin)?;
        let mut hidden = before.clone();
        hidden.local_modes.remove(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG);
        tcsetattr(stdin, OptionalActions::Flush, &hidden)?;
        Ok(Self { stdin, before })
    }
}

impl Drop for Hidden<'_> {
    fn drop(&mut self) {
        let _ = tcsetattr(self.stdin, OptionalActions::Flush, &self.before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(bytes: &[u8]) -> (Option<Ended>, Option<String>) {
        let mut line = Line(Zeroizing::new(Vec::with_capacity(MAX + 1)));
        let ended = bytes.iter().find_map(|byte| line.add(*byte));
        (ended, line.text().map(|text| text.to_string()))
    }

    #[test]
    fn lines_can_be_corrected() {
        assert_eq!(typed(b"abc\n"), (Some(Ended::Answer), Some("abc".into())));
        assert_eq!(typed("aé\x7fb\r".as_bytes()), (Some(Ended::Answer), Some("ab".into())));
        assert_eq!(typed(b"abc\x15de\n"), (Some(Ended::Answer), Some("de".into())));
        assert_eq!(typed(b"a\x7f\x7f\n"), (Some(Ended::Answer), None));
        assert_eq!(typed(b"ab\x03").0, Some(Ended::Interrupted));
        assert_eq!(typed(b"\x04").0, Some(Ended::Nothing));
        assert_eq!(typed(&[b'x'; 5000]), (None, Some("x".repeat(MAX))));
    }
}
