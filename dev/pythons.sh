#!/usr/bin/env bash
# Tests the wheel with newer Pythons: dev/pythons.sh [VERSION ...]; without any, 3.12, 3.13 and 3.14.
#
# Each gets the packages of deploy/constraints.txt, with hashes, and runs the tests of the core, the client, the agent
# and the command line, one version after the other. Each also replays a log that Python 3.11 has recorded, as a standby
# does, and must have the same state after every 1,000 facts. Pythons are those of the machine; 3.14 also comes in a Go
# module.
# A Python or its packages that are not to be had are named, and are no failure: the network may be away. A test that
# fails is one.
set -euo pipefail
cd "$(dirname "$0")/.."
home=$PWD/.venv/pythons
module=github.com/kluctl/go-embed-python@v0.0.0-3.14.6-20260610-1 # Apache-2.0; CPython 3.14.6 for several systems
tests=(tests/core tests/client tests/agent tests/cli)
# Left out, since they say nothing about a version of Python and would take most of the time: long random histories
# against a model, bounds on work and time, and what reads the source only. The plots need gossipcontrol[sim].
left_out=(
    core/test_liveness_property.py core/test_purity.py core/test_composition.py core/deciding/test_property.py
    core/knowledge/test_ancestry.py core/knowledge/test_cost.py core/knowledge/test_oracle.py
    core/diagnosis/test_diagnosis.py core/diagnosis/test_mute.py core/diagnosis/test_links_cost.py
    core/diagnosis/test_neighbor_graph.py core/presence/test_consistency.py core/repair/test_silence.py
)
plots=tests/cli/test_simulate_command.py
options=("${left_out[@]/#/--ignore=tests/}" --deselect "$plots::test_a_plot_is_drawn_beside_the_table"
    --deselect "$plots::test_the_same_result_gives_the_same_plot_in_which_hostile_names_are_escaped")
# Hypothesis counts references, and takes Python 3.14's borrowed ones for an object that nobody holds.
options+=(-W ignore::hypothesis.errors.HypothesisWarning)
tools=(pytest pytest-asyncio pytest-timeout pytest-xdist hypothesis packaging)
uv=$PWD/.venv/bin/uv
wait_for_network=150 # seconds per version, for all attempts
export UV_HTTP_TIMEOUT=60 PYTHONPYCACHEPREFIX=$home/pycache
# CI allows no skips; here the package iroh is left out, which is tested with Python 3.11.
unset PYTHONDONTWRITEBYTECODE CI
(($#)) || set -- 3.12 3.13 3.14
mkdir -p "$home"

find_python() { # prints an interpreter of this version that starts, if there is one
    local candidate path
    path=$(command -v "python$1" || true)
    for candidate in "$home/$1/bin/python$1" "$path" "$HOME/.pyenv/versions/$1".*/bin/python; do
        if [ -x "$candidate" ] && "$candidate" -c "import sqlite3, ssl, sys
sys.exit('%d.%d' % sys.version_info[:2] != '$1')" 2>/dev/null; then
            echo "$candidate" && return
        fi
    done
    return 1
}

unpack() { # from the module, which holds each file packed with gzip
    local source
    command -v go >/dev/null && [ "$(uname -sm)" = "Linux x86_64" ] || return
    (cd "$home" && GOFLAGS=-modcacherw timeout $wait_for_network go mod download -json "$module" >download.json) ||
        return
    source=$(sed -n 's/^\t"Dir": "\(.*\)",\?$/\1/p' "$home/download.json")
    rm -rf "$home/new" && cp -r "$source/python/internal/data/linux-amd64" "$home/new" && chmod -R u+w "$home/new" &&
        find "$home/new" -name '*.gz' -exec gunzip {} + && chmod +x "$home"/new/bin/* && mv "$home/new" "$home/3.14"
}

fetch() { # uv pip install with these arguments, twice at most, within the time that is left
    local left
    for _ in first second; do
        left=$((until - SECONDS))
        ((left > 0)) || return
        timeout $left "$uv" pip install -q --python "$venv/bin/python" --only-binary :all: "$@" && return
    done
    return 1
}

install() { # an environment with the packages
    until=$((SECONDS + wait_for_network))
    "$uv" venv -q --clear --python "$1" "$venv" && fetch --require-hashes -r deploy/constraints.txt &&
        fetch -c requirements-dev.lock "${tools[@]}"
}

if [[ " $* " == *" 3.14 "* ]] && ! find_python 3.14 >/dev/null; then
    unpack || echo "Python 3.14: not on this machine, and the Go module is not to be had" >&2
fi
"$uv" build -q --wheel --no-build-isolation --python .venv/bin/python --out-dir "$home/wheel" --clear
.venv/bin/python -m tests.kit.recorded_log record "$home/log.json"
tested=0
status=0
for version in "$@"; do
    venv=$home/venv-$version
    if ! python=$(find_python "$version"); then
        echo "Python $version: NOT TESTED: no interpreter on this machine"
    elif ! install "$python"; then
        echo "Python $version: NOT TESTED: its packages could not be fetched, see above"
    else
        "$uv" pip install -q --python "$venv/bin/python" --no-deps "$home"/wheel/*.whl
        "$venv/bin/python" --version
        "$venv/bin/python" -m pytest -q -p no:cacheprovider -n "${WORKERS:-2}" "${options[@]}" "${tests[@]}" || status=1
        for seed in 1 2; do
            PYTHONHASHSEED=$seed "$venv/bin/python" -m tests.kit.recorded_log replay "$home/log.json" || status=1
        done
        tested=$((tested + 1))
    fi
done
echo "$tested of $# Pythons tested"
exit $status
