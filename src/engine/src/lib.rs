//! An open repository and its operations. The library reports, the command draws: nothing is printed here.

mod error;

pub use error::{Error, Result};
