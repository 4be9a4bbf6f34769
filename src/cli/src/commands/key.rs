//! x
use crate::app::App;
use crate::args::KeyCommand;
use crate::error::Result;
use crate::exit::Exit;
pub fn run(_: &App, _: KeyCommand) -> Result<Exit> { todo!() }
