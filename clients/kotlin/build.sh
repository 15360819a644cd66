#!/bin/sh
# Generates the code of the protos and builds build/gossipcontrol-client-0.1.0.jar, with its libraries beside it.
# PROTOS names other protos.
set -eu
cd "$(dirname "$0")"
protos=$(cd "${PROTOS:-../../proto}" && pwd)
mvn -q -B -ntp -Dprotos="$protos" package
