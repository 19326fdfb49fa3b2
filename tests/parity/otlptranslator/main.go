// Command otlptranslator answers what Prometheus and the Collector call a metric or a label.
//
// It reads one JSON object a line and writes one JSON answer a line:
//
//	{"type": "gauge|counter|updowncounter|histogram", "name": "a.b", "unit": "s"} -> "a_b_seconds"
//	{"type": "label", "name": "a.b"}                                              -> "a_b"
//	{"type": "bound", "bound": 100}                                               -> ["100.0", "100"]
//
// The spellings of a bound are those of the label le: the one that Prometheus 3 normalises a scraped value to, and the
// one of its OTLP receiver.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/prometheus/otlptranslator"
)

type request struct {
	Type  string  `json:"type"`
	Name  string  `json:"name"`
	Unit  string  `json:"unit"`
	Bound float64 `json:"bound"`
}

var metricTypes = map[string]otlptranslator.MetricType{
	"gauge":         otlptranslator.MetricTypeGauge,
	"counter":       otlptranslator.MetricTypeMonotonicCounter,
	"updowncounter": otlptranslator.MetricTypeNonMonotonicCounter,
	"histogram":     otlptranslator.MetricTypeHistogram,
}

func scrapedBound(bound float64) string {
	text := strconv.FormatFloat(bound, 'g', -1, 64)
	if strings.ContainsAny(text, "e.") {
		return text
	}
	return text + ".0"
}

func answer(asked request) (any, error) {
	switch asked.Type {
	case "label":
		namer := otlptranslator.LabelNamer{}
		return namer.Build(asked.Name)
	case "bound":
		return []string{scrapedBound(asked.Bound), strconv.FormatFloat(asked.Bound, 'f', -1, 64)}, nil
	}
	metricType, known := metricTypes[asked.Type]
	if !known {
		return nil, fmt.Errorf("type %q is not known", asked.Type)
	}
	namer := otlptranslator.NewMetricNamer("", otlptranslator.UnderscoreEscapingWithSuffixes)
	return namer.Build(otlptranslator.Metric{Name: asked.Name, Unit: asked.Unit, Type: metricType})
}

func main() {
	lines := bufio.NewScanner(os.Stdin)
	answers := json.NewEncoder(os.Stdout)
	for lines.Scan() {
		var asked request
		err := json.Unmarshal(lines.Bytes(), &asked)
		var answered any
		if err == nil {
			answered, err = answer(asked)
		}
		if err == nil {
			err = answers.Encode(answered)
		}
		if err != nil {
			fmt.Fprintf(os.Stderr, "otlptranslator: %s: %v\n", lines.Text(), err)
			os.Exit(1)
		}
	}
}
