//! x
use crate::app::App;
use crate::args::StatusArgs;
use crate::error::Result;
use crate::exit::Exit;
pub fn run(_: &App, _: &StatusArgs) -> Result<Exit> { todo!() }
