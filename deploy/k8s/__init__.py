"""The Kubernetes deployment: manifests for kustomize, and the files derived from other parts."""
