//! `fardel completions`: a script for a shell.

use std::io::Write;

use clap::CommandFactory;

use crate::args::{CompletionsArgs, LowArgs};
use crate::error::{Failure, Result};
use crate::exit::Exit;

/// Runs the command.
///
/// # Errors
/// When standard output fails.
pub fn run(args: &CompletionsArgs) -> Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut LowArgs::command(), "fardel", &mut script);
    std::io::stdout().write_all(&script).map_err(|e| Failure::stdout(&e))?;
    Ok(Exit::Done)
}
