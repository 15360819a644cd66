#!/usr/bin/env bash
# Installs the wheel for newer Pythons from deploy/constraints.txt, with hashes, and runs the tests of the core, the
# client, the agent and the command line: dev/pythons.sh [VERSION ...]; without any, 3.12, 3.13 and 3.14.
#
# Pythons are those of the machine; 3.14 also comes in a Go module. One that is not to be had is named, and left out.
set -euo pipefail
cd "$(dirname "$0")/.."
home=$PWD/.venv/pythons
module=github.com/kluctl/go-embed-python@v0.0.0-3.14.6-20260610-1 # Apache-2.0; CPython 3.14.6 for several systems
tests=(tests/core tests/client tests/agent tests/cli)
# What does not depend on the version of Python, and takes most of the time.
skipped=(--ignore=tests/core/test_liveness_property.py --ignore=tests/core/deciding/test_property.py)
tools=(pytest pytest-asyncio pytest-timeout pytest-xdist hypothesis packaging)
uv=$PWD/.venv/bin/uv
(($#)) || set -- 3.12 3.13 3.14
mkdir -p "$home"

find_python() { # prints an interpreter of this version that starts, if there is one
    local candidate path
    path=$(command -v "python$1" || true)
    for candidate in "$home/$1/bin/python$1" "$path" "$HOME/.pyenv/versions/$1".*/bin/python; do
        if [ -x "$candidate" ] && "$candidate" -c 'import sqlite3, ssl' 2>/dev/null; then
            echo "$candidate" && return
        fi
    done
    return 1
}

unpack() { # from the module, which holds each file packed with gzip
    local source
    (cd "$home" && GOFLAGS=-modcacherw go mod download -json "$module" >download.json)
    source=$(sed -n 's/^\t"Dir": "\(.*\)",\?$/\1/p' "$home/download.json")
    rm -rf "$home/new" && cp -r "$source/python/internal/data/linux-amd64" "$home/new"
    chmod -R u+w "$home/new"
    find "$home/new" -name '*.gz' -exec gunzip {} +
    chmod +x "$home"/new/bin/*
    mv "$home/new" "$home/3.14"
}
if [[ " $* " == *" 3.14 "* ]] && ! find_python 3.14 >/dev/null && [ "$(uname -sm)" = "Linux x86_64" ]; then
    command -v go >/dev/null && unpack
fi

"$uv" build -q --wheel --no-build-isolation --python .venv/bin/python --out-dir "$home/wheel" --clear
tried=0
for version in "$@"; do
    if ! python=$(find_python "$version"); then
        echo "Python $version: not on this machine, so not tested" >&2
        continue
    fi
    venv=$home/venv-$version
    "$uv" venv -q --clear --python "$python" "$venv"
    install=("$uv" pip install -q --python "$venv/bin/python" --only-binary :all:)
    "${install[@]}" --require-hashes -r deploy/constraints.txt
    "${install[@]}" -c requirements-dev.lock "${tools[@]}"
    "${install[@]}" --no-deps "$home"/wheel/*.whl
    "$venv/bin/python" --version
    "$venv/bin/python" -m pytest -q -p no:cacheprovider -n "${WORKERS:-8}" "${skipped[@]}" "${tests[@]}"
    tried=$((tried + 1))
done
echo "$tried of $# Pythons tested"
