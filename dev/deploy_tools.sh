#!/usr/bin/env bash
# Builds the tools that read deploy/ and that Debian does not have, into .venv: dev/deploy_tools.sh; a minute with Go.
set -euo pipefail
cd "$(dirname "$0")/.."
command -v go >/dev/null || { echo "the program go is missing: apt-get install golang-go" >&2 && exit 1; }
export GOBIN=$PWD/.venv/bin GOFLAGS=-modcacherw
go install github.com/yannh/kubeconform/cmd/kubeconform@v0.8.0   # Apache-2.0
go install sigs.k8s.io/kustomize/kustomize/v5@v5.7.1             # Apache-2.0; newer ones need Go 1.27
module=github.com/compose-spec/compose-go/v2@v2.16.2             # Apache-2.0; it has the schema of compose files
mkdir -p .venv/share
(cd .venv/share && go mod download -json "$module" >download.json)
source=$(sed -n 's/^\t"Dir": "\(.*\)",\?$/\1/p' .venv/share/download.json)
install -m 0644 "$source/schema/compose-spec.json" .venv/share/compose-spec.json
