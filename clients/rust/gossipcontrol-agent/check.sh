#!/bin/sh
# Checks style, then runs the tests of the crate and those in its documentation.
set -eu
cd "$(dirname "$0")"
cargo fmt --check
cargo clippy --locked --quiet --jobs 2 --all-features --all-targets -- -D warnings
cargo test --locked --quiet --jobs 2 --all-features
