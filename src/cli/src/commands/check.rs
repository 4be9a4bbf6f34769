//! x
use crate::app::App;
use crate::args::CheckArgs;
use crate::error::Result;
use crate::exit::Exit;
pub fn run(_: &App, _: &CheckArgs) -> Result<Exit> { todo!() }
