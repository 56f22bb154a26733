package main

import (
	"encoding/xml"
	"io"
	"strings"
)

// asJUnit is an output format for test results only.
const asJUnit output = "junit"

// testOutput is an output flag that also accepts asJUnit.
type testOutput struct{ *output }

func (o testOutput) Set(s string) error {
	words := []string{string(asText), string(asJSON), string(asJUnit)}
	switch output(s) {
	case asText, asJSON, asJUnit:
		*o.output = output(s)
		return nil
	}
	return oneOfWords(s, words)
}

func (o testOutput) Type() string { return "text|json|junit" }

// caseResult is the result of one case.
type caseResult struct {
	File  string   `json:"file"`
	Name  string   `json:"name"`
	OK    bool     `json:"ok"`
	Diffs []string `json:"differences,omitempty"`
}

// printJUnit writes results in the XML format of JUnit's Ant task, which CI systems read. Each case file is a suite.
func printJUnit(w io.Writer, results []caseResult) error {
	type failure struct {
		Message string `xml:"message,attr"`
		Text    string `xml:",chardata"`
	}
	type testCase struct {
		Class   string   `xml:"classname,attr"`
		Name    string   `xml:"name,attr"`
		Failure *failure `xml:"failure"`
	}
	type testSuite struct {
		Name     string     `xml:"name,attr"`
		Tests    int        `xml:"tests,attr"`
		Failures int        `xml:"failures,attr"`
		Cases    []testCase `xml:"testcase"`
	}
	all := struct {
		XMLName xml.Name     `xml:"testsuites"`
		Suites  []*testSuite `xml:"testsuite"`
	}{}
	suites := map[string]*testSuite{}
	for _, r := range results {
		s := suites[r.File]
		if s == nil {
			s = &testSuite{Name: r.File}
			suites[r.File], all.Suites = s, append(all.Suites, s)
		}
		c := testCase{Class: r.File, Name: r.Name}
		if s.Tests++; !r.OK {
			s.Failures++
			c.Failure = &failure{Message: r.Diffs[0], Text: strings.Join(r.Diffs, "\n")}
		}
		s.Cases = append(s.Cases, c)
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	enc := xml.NewEncoder(w)
	enc.Indent("", "  ")
	if err := enc.Encode(all); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}
