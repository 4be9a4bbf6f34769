//! The command as users and programs see it: exit codes, messages with hints, the fields of `--json`.

mod cli_commands {
    mod backups;
    mod configuration;
    mod contents;
    mod copies;
    mod failures;
    mod health;
    mod keys;
    mod replicas;
    mod restores;
    mod retention;
    mod sandbox;
    mod streams;
}
