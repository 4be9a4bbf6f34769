# `just --list` shows what there is. CONTRIBUTING.md says when to run what.

# what CI runs: format, clippy, cargo-deny, tests
check:
    ./.ci/run

# the tests alone, with the same profile as CI
test *ARGS:
    cargo test --workspace --locked {{ ARGS }}

# Fardel beside other backup tools, as a table; benches/README.md says how to read it
bench *ARGS:
    ./benches/run {{ ARGS }}

# the long suites at their full counts: tests named `soak_…` and marked `#[ignore = "soak: …"]`; or those of this name
soak NAME="soak_":
    cargo test --release --workspace --locked {{ NAME }} -- --ignored --nocapture

# every fuzz target for some seconds each; needs cargo-fuzz and a nightly toolchain
fuzz SECONDS="60":
    #!/usr/bin/env bash
    set -euo pipefail
    targets=$(cargo +nightly fuzz list)
    for target in $targets; do
        cargo +nightly fuzz run "$target" -- -max_total_time={{ SECONDS }}
    done
