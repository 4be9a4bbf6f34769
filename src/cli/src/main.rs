//! `fardel`: backs up into a repository of immutable packs, and gets everything back.

mod app;
mod args;
mod choice;
mod commands;
mod config;
mod config_file;
mod copier;
mod copies;
mod entry;
mod error;
mod exit;
mod expand;
mod human;
mod interrupt;
mod key_file;
mod limits;
mod location;
mod material;
mod meter;
mod moment;
mod open;
mod output;
mod progress;
mod prompt;
mod remote;
mod schedule;
mod secret_input;
mod size;
mod snapshot_path;
mod span;
mod stores;
mod table;
mod timetable;

use std::process::ExitCode;

fn main() -> ExitCode {
    app::run(std::env::args_os()).into()
}
