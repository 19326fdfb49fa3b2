#!/bin/sh
# Installs the real programs that the tests talk to. Without the right to install them, the tests that need one say so.
set -eu
missing=""
for tool in prometheus promtool prometheus-alertmanager amtool chromium; do
    command -v "$tool" >/dev/null 2>&1 || missing="yes"
done
[ -n "$missing" ] || exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
    echo "prometheus, promtool, alertmanager, amtool or chromium are not installed: the tests that need them will be skipped" >&2
    exit 0
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -q
# The packages start servers of their own where an init system runs; the tests start theirs.
RUNLEVEL=1 apt-get install -q -y --no-install-recommends prometheus prometheus-alertmanager chromium
