//! `fardel sync` to real servers, interrupted by force: lines that are cut, commands and servers that are killed.
//!
//! A repository with snapshots of all sizes is carried to a replica, and on the way something is cut or killed at a moment that
//! chance chooses among the bytes of either direction. After each:
//!
//! - every object that the server shows under its final name is the one of the source, byte for byte;
//! - every snapshot that is sealed there is whole (`check` with hashes), and `status` says so; now and then the newest complete
//!   one is restored by the command and compared with what was saved;
//! - no complete snapshot was lost again;
//! - the next `sync` ends what was begun, and what is sent twice stays within a bound.
//!
//! `just soak` interrupts ten times as often; `FARDEL_SEED` chooses other moments, `FARDEL_SOAK_MINUTES` limits the time.

#[path = "interruptions/cuts.rs"]
mod cuts;
#[path = "interruptions/kills.rs"]
mod kills;
#[path = "interruptions/replica.rs"]
mod replica;
#[path = "interruptions/server.rs"]
mod server;
#[path = "interruptions/site.rs"]
mod site;
#[path = "interruptions/targets.rs"]
mod targets;
#[path = "interruptions/toll.rs"]
mod toll;
