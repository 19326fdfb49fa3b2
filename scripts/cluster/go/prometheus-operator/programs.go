//go:build tools

// Keeps the program that the lab builds in go.mod.
package tools

import _ "github.com/prometheus-operator/prometheus-operator/cmd/operator"
