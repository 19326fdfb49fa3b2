#!/bin/sh
# Builds kustomize, which renders deploy/k8s, from the Go module proxy. Without the proxy the tests that need it say so.
set -eu
version=v5.8.2
root=$(cd "$(dirname "$0")/.." && pwd)
bin="$root/.tools/bin"
if [ -x "$bin/kustomize" ] && [ "$("$bin/kustomize" version)" = "$version" ]; then
    exit 0
fi
go="$root/.venv/bin/go"
[ -x "$go" ] || go=$(command -v go) || {
    echo "kustomize is not installed and there is no Go to build it with: the tests that need it will be skipped" >&2
    exit 0
}
mkdir -p "$bin"
stamp="-X sigs.k8s.io/kustomize/api/provenance.version=$version"
GOBIN="$bin" GOFLAGS=-modcacherw CGO_ENABLED=0 nice "$go" install -p 2 -ldflags "-s -w $stamp" \
    "sigs.k8s.io/kustomize/kustomize/v5@$version"
