#!/bin/sh
# Installs moto's S3 server, which the tests of the archive talk to, into an environment of its own: its botocore wants
# another python-dateutil than constraints.txt pins. Without a package index those tests say that it is missing.
set -eu
cd "$(dirname "$0")/.."
pins=scripts/object_store.txt
home="$PWD/.tools/moto"
stamp="$home/.installed"
if [ -x .tools/bin/moto_server ] && cmp -s "$pins" "$stamp"; then exit 0; fi
uv="$PWD/.venv/bin/uv"
certificates=""
[ ! -e /etc/ssl/certs/ca-certificates.crt ] || certificates="--system-certs"
mkdir -p .tools/bin
# shellcheck disable=SC2086
if ! { "$uv" venv -q --clear --python .venv/bin/python "$home" && "$uv" pip install -q $certificates --python "$home/bin/python" -r "$pins"; }; then
    echo "moto_server could not be installed: the tests of the archive on S3 will be skipped" >&2
    exit 0
fi
ln -sf ../moto/bin/moto_server .tools/bin/moto_server
cp "$pins" "$stamp"
