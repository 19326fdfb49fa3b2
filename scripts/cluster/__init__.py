"""A Kubernetes cluster of one node on this machine, from Debian's packages and Go modules, for 'make cluster-test'."""
