#!/usr/bin/env bash
# Builds the Debian package in build/debian, checks it with lintian, and runs what is in it: dev/debian.sh
set -euo pipefail
cd "$(dirname "$0")/.."
for program in dpkg-buildpackage dh lintian; do
    command -v "$program" >/dev/null || {
        echo "$program is missing: apt-get install dpkg-dev debhelper lintian" >&2
        exit 1
    }
done
export GOSSIPCONTROL_VENV=$PWD/.venv
rm -rf build/debian && mkdir -p build/debian/source
git ls-files -z --cached --others --exclude-standard | xargs -0 cp --parents -t build/debian/source
cp -r deploy/debian build/debian/source/debian
(cd build/debian/source && dpkg-buildpackage --build=binary --no-sign >../log 2>&1) || {
    tail -50 build/debian/log
    exit 1
}
package=$(echo build/debian/*.deb)
lintian --fail-on error,warning --tag-display-limit 0 "$package"

# Unpacked, not installed: this machine stays as it is.
dpkg-deb --extract "$package" build/debian/root
bin=build/debian/root/usr/bin
"$bin/gossipcontrol" --version
"$bin/gossipcontrol-server" check build/debian/root/etc/gossipcontrol.toml
echo "$package: $(($(stat -c %s "$package") / 1024 / 1024)) MB"
