//! `fardel man`: the manual pages, made from the definition of the arguments.

use std::io::Write;
use std::path::Path;

use clap::CommandFactory;
use clap_mangen::Man;

use crate::args::{LowArgs, ManArgs};
use crate::error::{Failure, Result};
use crate::exit::Exit;
use crate::output::Output;

/// Runs the command.
///
/// # Errors
/// When there is no such page, or it cannot be written.
pub fn run(out: &Output, args: &ManArgs) -> Result<Exit> {
    let mut command = LowArgs::command().disable_help_subcommand(true);
    command.build();
    if let Some(folder) = &args.dir {
        let hint = "name a folder that can be written";
        std::fs::create_dir_all(folder).map_err(|e| Failure::io(folder, &e, hint))?;
        write_all(&command, folder)?;
        out.say(format!(
            "the pages are in {}; man -M needs a folder man1 around them",
            crate::human::path(folder)
        ))?;
        return Ok(Exit::Done);
    }
    let mut page = &command;
    for name in &args.page {
        let unknown = || {
            Failure::usage(
                format!("there is no command {}", name.display()),
                "`fardel help` lists the commands",
            )
        };
        page = page.find_subcommand(name).ok_or_else(unknown)?;
    }
    std::io::stdout().write_all(&render(page)).map_err(|e| Failure::stdout(&e))?;
    Ok(Exit::Done)
}

fn render(command: &clap::Command) -> Vec<u8> {
    let mut page = Vec::new();
    // Writing to memory does not fail.
    let _ = Man::new(command.clone()).render(&mut page);
    page
}

fn write_all(command: &clap::Command, folder: &Path) -> Result<()> {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name());
    let path = folder.join(format!("{name}.1"));
    std::fs::write(&path, render(command))
        .map_err(|e| Failure::io(&path, &e, "name a folder that can be written"))?;
    command.get_subcommands().try_for_each(|below| write_all(below, folder))
}
