#!/usr/bin/env bash
# Runs tests in a Windows Python under Wine: dev/windows.sh [PYTEST ARGUMENTS]; without any, what is tested on Windows.
#
# It prepares the Python in .venv/windows, which takes a minute and 1 GB the first time. Output goes through a pipe:
# with a file, Python 3.11 does not start under Wine 8.
set -euo pipefail
cd "$(dirname "$0")/.."
home=$PWD/.venv/windows
module=github.com/kluctl/go-embed-python@v0.0.0-3.11.11-20241219-1 # Apache-2.0; CPython 3.11.11 for several systems
packages=(
    grpcio grpcio-health-checking grpcio-reflection grpcio-status protobuf prometheus-client tenacity click rich
    werkzeug msgpack pytest pytest-asyncio pytest-timeout hypothesis colorama
)
needed() { command -v "$1" >/dev/null || { echo "the program $1 is missing: apt-get install $2" >&2 && exit 1; }; }
needed wine "wine wine64"
needed go golang-go
needed x86_64-w64-mingw32-gcc gcc-mingw-w64-x86-64-win32
[ -x .venv/bin/uv ] || make -s setup

unpack() { # from the module, which holds each file packed with gzip
    rm -rf "$home/python" "$home/module" && mkdir -p "$home/module"
    (cd "$home/module" && GOFLAGS=-modcacherw go mod download -json "$module" >download.json)
    source=$(sed -n 's/^\t"Dir": "\(.*\)",\?$/\1/p' "$home/module/download.json")
    cp -r "$source/python/internal/data/windows-amd64" "$home/python.new"
    chmod -R u+w "$home/python.new"
    find "$home/python.new" -name '*.gz' -exec gunzip {} +
    mv "$home/python.new" "$home/python"
}
[ -e "$home/python/python.exe" ] || unpack

site=$home/python/Lib/site-packages
ready=$site/.ready
if [ ! -e "$ready" ] || [ requirements-dev.lock -nt "$ready" ] || [ pyproject.toml -nt "$ready" ]; then
    system=(--python-platform x86_64-pc-windows-msvc --python-version 3.11)
    install=(.venv/bin/uv pip install -q --target "$site" "${system[@]}")
    "${install[@]}" --only-binary :all: -c requirements-dev.lock "${packages[@]}"
    # As users get it: the wheel. The tests take the modules themselves from this checkout.
    .venv/bin/uv build -q --wheel --no-build-isolation --python .venv/bin/python --out-dir "$home/wheel" --clear
    "${install[@]}" --no-deps --reinstall "$home"/wheel/*.whl
    touch "$ready"
fi

export WINEPREFIX=$home/prefix WINEDEBUG=-all WINEDLLOVERRIDES="mscoree,mshtml=" PYTHONDONTWRITEBYTECODE=1
windows() { sed 's|/|\\|g; s|^|Z:|' <<<"$1"; }
PYTHONPATH="$(windows "$PWD/proto");$(windows "$PWD/server");$(windows "$PWD/clients")"
export PYTHONPATH
x86_64-w64-mingw32-gcc -shared -O1 -o "$home/events.dll" tests/kit/windows_events.c
GOSSIPCONTROL_WINDOWS_EVENTS=$(windows "$home/events.dll")
export GOSSIPCONTROL_WINDOWS_EVENTS
run() { wine "$home/python/python.exe" -m pytest -q -p no:cacheprovider "$@" 2>&1 </dev/null | cat; }
# The first start makes the prefix; two at once would each find the other's half of it.
[ -e "$WINEPREFIX/system.reg" ] || wine "$home/python/python.exe" -c pass 2>&1 </dev/null | cat
if (($#)); then
    run "$@"
else # the core's tests take as long as all others
    run tests/core >"$home/core.log" &
    others=(tests/watch tests/client tests/agent tests/cli tests/system tests/deploy/test_windows_task.py)
    run "${others[@]}" && status=0 || status=$?
    wait $! || status=$?
    cat "$home/core.log"
    exit "$status"
fi
