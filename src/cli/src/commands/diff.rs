//! x
use crate::app::App;
use crate::args::DiffArgs;
use crate::error::Result;
use crate::exit::Exit;
pub fn run(_: &App, _: &DiffArgs) -> Result<Exit> { todo!() }
