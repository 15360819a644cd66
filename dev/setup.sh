#!/bin/sh
# Creates a virtual environment with the locked packages and this checkout: dev/setup.sh DIRECTORY
set -eu
venv=$1
python=$(command -v python3.11 || command -v python3) || {
    echo "Python 3.11 or newer is missing: apt-get install python3 python3-venv" >&2
    exit 1
}
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "$python is older than Python 3.11" >&2
    exit 1
}
if ! "$python" -c 'import ensurepip' 2>/dev/null; then
    # Debian ships this part of Python as a package of its own.
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        echo "installing python3-venv"
        { apt-get update && apt-get install -y --no-install-recommends python3-venv; } >/dev/null
    else
        echo "Python's venv is incomplete: apt-get install python3-venv" >&2
        exit 1
    fi
fi
echo "setting up $venv (the first time takes a minute)"
[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
"$venv/bin/pip" install --quiet --disable-pip-version-check --requirement requirements-dev.lock
"$venv/bin/pip" install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
