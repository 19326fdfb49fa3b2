// Reads LogQL queries, one JSON string a line, and answers each with what is wrong with it, or an empty string.
package main

import (
	"bufio"
	"encoding/json"
	"os"

	"github.com/grafana/loki/v3/pkg/logql/syntax"
)

func main() {
	lines := bufio.NewScanner(os.Stdin)
	answers := json.NewEncoder(os.Stdout)
	for lines.Scan() {
		var query, fault string
		if err := json.Unmarshal(lines.Bytes(), &query); err != nil {
			fault = err.Error()
		} else if _, err := syntax.ParseExpr(query); err != nil {
			fault = err.Error()
		}
		if err := answers.Encode(fault); err != nil {
			os.Exit(1)
		}
	}
}
