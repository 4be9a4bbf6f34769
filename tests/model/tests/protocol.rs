//! The protocol holds in every state of small scopes and in millions of schedules of larger ones; each wrong one is refuted.

#[path = "protocol/every_state.rs"]
mod every_state;
#[path = "protocol/mutants.rs"]
mod mutants;
#[path = "protocol/schedules.rs"]
mod schedules;
#[path = "protocol/scopes.rs"]
mod scopes;
