// Reads TraceQL queries, one JSON string a line, and answers each with what is wrong with it, or an empty string.
package main

import (
	"bufio"
	"encoding/json"
	"os"

	"github.com/grafana/tempo/pkg/traceql"
)

func main() {
	lines := bufio.NewScanner(os.Stdin)
	answers := json.NewEncoder(os.Stdout)
	for lines.Scan() {
		var query, fault string
		if err := json.Unmarshal(lines.Bytes(), &query); err != nil {
			fault = err.Error()
		} else if _, err := traceql.Parse(query); err != nil {
			fault = err.Error()
		}
		if err := answers.Encode(fault); err != nil {
			os.Exit(1)
		}
	}
}
