#!/bin/sh
# Makes the virtual environment: the pinned installer first, then everything that constraints.txt pins.
# The second argument, if any, names one more extra of pyproject.toml.
set -eu
venv="$1"
python="${PYTHON:-python3.11}"
command -v "$python" >/dev/null 2>&1 || python=python3
"$python" -c 'import sys; sys.exit(sys.version_info[:2] < (3, 11))' || {
    echo "error: Python 3.11 or later is needed, $("$python" --version) was found; set PYTHON=/path/to/python3.11" >&2
    exit 1
}
if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    [ "$(id -u)" = 0 ] || { echo "error: Python's venv module is missing; install it with: apt-get install python3-venv" >&2; exit 1; }
    apt-get update -q && apt-get install -q -y --no-install-recommends python3-venv
fi
[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
"$venv/bin/python" -m pip install -q --disable-pip-version-check -c constraints.txt uv
# Where the machine has certificates of its own, they are the ones to trust.
certificates=""
[ ! -e /etc/ssl/certs/ca-certificates.crt ] || certificates="--system-certs"
# shellcheck disable=SC2086
"$venv/bin/uv" pip install -q $certificates --python "$venv/bin/python" -c constraints.txt --build-constraints constraints.txt -e ".[all,trainer,dev${2:+,$2}]"
