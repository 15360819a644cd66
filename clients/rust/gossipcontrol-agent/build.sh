#!/bin/sh
# Builds target/debug/gossipcontrol-iroh with the code of the protos; needs no protoc. PROTOS names other protos.
set -eu
cd "$(dirname "$0")"
cargo build --locked --quiet --jobs 2 --all-features
