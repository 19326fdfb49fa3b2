"""The deployment in Kubernetes: manifests for kustomize, and what of them is derived from other parts."""
