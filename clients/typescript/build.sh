#!/bin/sh
# Installs the locked packages, generates the code of the protos into src/gen/ and compiles to dist/. PROTOC names
# another protoc, PROTOS other protos.
set -eu
cd "$(dirname "$0")"
protos=${PROTOS:-../../proto}
npm ci --no-audit --no-fund --ignore-scripts --loglevel=error
mkdir -p src/gen
PATH=$PWD/node_modules/.bin:$PATH ${PROTOC:-protoc} -I"$protos" \
    --es_out=src/gen --es_opt=target=ts,import_extension=js \
    "$protos"/gossipcontrol/v1/*.proto
npx tsc
