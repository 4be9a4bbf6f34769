//! x
use crate::app::App;
use crate::args::FindArgs;
use crate::error::Result;
use crate::exit::Exit;
pub fn run(_: &App, _: &FindArgs) -> Result<Exit> { todo!() }
