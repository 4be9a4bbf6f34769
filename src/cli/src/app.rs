//! From arguments to an exit code.

use std::ffi::OsString;
use std::sync::Arc;

use clap::Parser;
use clap::error::ErrorKind;

use crate::args::{Command, GlobalArgs, LowArgs};
use crate::commands;
use crate::config::{Config, Process};
use crate::error::{Failure, Result};
use crate::exit::Exit;
use crate::human;
use crate::limits;
use crate::location::Location;
use crate::output::Output;

/// What every command works with.
pub struct App {
    /// What was set.
    pub config: Config,
    /// Where results go.
    pub out: Arc<Output>,
}

impl App {
    /// A command line for the same repository, to be shown.
    #[must_use]
    pub fn command(&self, command: &str, location: &Location) -> String {
        format!("{} {command}{}", program(), self.config.again(location))
    }
}

/// How the user calls this program: by its path when it is not installed.
fn program() -> String {
    let first = std::env::args_os().next().and_then(|first| first.into_string().ok());
    first.filter(|first| first.contains('/')).map_or_else(|| "fardel".into(), |first| human::quoted(&first))
}

/// Runs the command.
pub fn run(arguments: impl Iterator<Item = OsString>) -> Exit {
    limits::set();
    let arguments: Vec<OsString> = arguments.collect();
    let args = match LowArgs::try_parse_from(&arguments) {
        Ok(args) => args,
        Err(error) => return not_parsed(&error, &arguments),
    };
    let out = Arc::new(Output::new(&args.global, matches!(args.command, Command::Dump(_))));
    let ended = dispatch(args, &out).and_then(|exit| out.flush().map(|()| exit));
    ended.unwrap_or_else(|failure| {
        out.failure(&failure);
        failure.exit
    })
}

fn dispatch(args: LowArgs, out: &Arc<Output>) -> Result<Exit> {
    let app = || Config::resolve(&args.global, &Process).map(|config| App { config, out: out.clone() });
    match args.command {
        Command::Init(args) => commands::init::run(&app()?, &args),
        Command::Backup(args) => commands::backup::run(&app()?, args),
        Command::Snapshots(args) => commands::snapshots::run(&app()?, &args),
        Command::Ls(args) => commands::ls::run(&app()?, &args),
        Command::Find(args) => commands::find::run(&app()?, &args),
        Command::Diff(args) => commands::diff::run(&app()?, &args),
        Command::Restore(args) => commands::restore::run(&app()?, args),
        Command::Dump(args) => commands::dump::run(&app()?, &args),
        Command::Check(args) => commands::check::run(&app()?, &args),
        Command::Sync(args) => commands::sync::run(&app()?, &args),
        Command::Status(args) => commands::status::run(&app()?, &args),
        Command::Probe(args) => commands::probe::run(&app()?, &args),
        Command::Forget(args) => commands::forget::run(&app()?, &args),
        Command::Pin(args) => commands::pin::run(&app()?, &args, true),
        Command::Unpin(args) => commands::pin::run(&app()?, &args, false),
        Command::Prune(args) => commands::prune::run(&app()?, &args),
        Command::Replica(args) => commands::replica::run(&app()?, &args),
        Command::Key(args) => commands::key::run(&app()?, args),
        Command::Completions(args) => commands::completions::run(&args),
        Command::Man(args) => commands::man::run(out, &args),
    }
}

/// Help and version are answers; everything else is a mistake, told to programs as such.
fn not_parsed(error: &clap::Error, arguments: &[OsString]) -> Exit {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        // Whoever closed the pipe has read enough.
        let _ = error.print();
        return Exit::Done;
    }
    if !arguments.iter().any(|argument| argument == "--json") {
        let _ = error.print();
        return Exit::Usage;
    }
    let text = error.render().to_string();
    let message =
        text.lines().map(str::trim).take_while(|line| !line.is_empty()).collect::<Vec<_>>().join(" ");
    let message = message.strip_prefix("error: ").unwrap_or(&message);
    let out = Output::new(&GlobalArgs { json: true, ..GlobalArgs::default() }, false);
    out.failure(&Failure::usage(message, "`fardel help COMMAND` says what is allowed"));
    Exit::Usage
}
