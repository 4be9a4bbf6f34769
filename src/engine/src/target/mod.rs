//! The folder that a restore writes into (being written).
