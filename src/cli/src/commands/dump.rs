//! x
use crate::app::App;
use crate::args::DumpArgs;
use crate::error::Result;
use crate::exit::Exit;
pub fn run(_: &App, _: &DumpArgs) -> Result<Exit> { todo!() }
