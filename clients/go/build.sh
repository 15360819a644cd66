#!/bin/sh
# Generates the code of the protos into v1/ and builds bin/report. PROTOC names another protoc, PROTOS other protos.
set -eu
cd "$(dirname "$0")"
protos=${PROTOS:-../../proto}
GOBIN=$PWD/bin go install tool
PATH=$PWD/bin:$PATH ${PROTOC:-protoc} -I"$protos" \
    --go_out=. --go_opt=module=gossipcontrol \
    --go-grpc_out=. --go-grpc_opt=module=gossipcontrol \
    "$protos"/gossipcontrol/v1/*.proto
go vet ./...
go build -o bin/report ./cmd/report
