#!/bin/sh
# Generates the code of the protos and builds target/debug/report. PROTOC names another protoc, PROTOS other protos.
set -eu
cd "$(dirname "$0")"
cargo build --locked --quiet --features tls
