//go:build tools

// Keeps the programs that the lab builds in go.mod.
package tools

import _ "github.com/cloudnativelabs/kube-router/v2/cmd/kube-router"
