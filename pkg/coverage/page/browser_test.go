//go:build chromium

package page_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"html"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/cloudtagger/tagger/pkg/coverage"
	"github.com/cloudtagger/tagger/pkg/coverage/page"
)

// probe inspects the unmodified page in a frame of a given width.
const probe = `<!doctype html><iframe id="f" style="width:%dpx;height:800px;border:0" src="/page.html"></iframe><pre id="out">nothing</pre>
<script>
document.getElementById("f").addEventListener("load", (e) => {
  const w = e.target.contentWindow, d = w.document, out = { overflow: [], contrast: [], texts: 0 };
  for (const el of d.querySelectorAll("details")) el.open = true;
  const color = (s) => { const m = s.match(/[\d.]+/g); return m ? m.map(Number) : [0, 0, 0, 0]; };
  const light = (c) => { const [r, g, b] = c.slice(0, 3).map((v) => { v /= 255; return v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4; });
    return .2126 * r + .7152 * g + .0722 * b; };
  const behind = (el) => {
    const rect = el.tagName === "text" && el.parentNode.tagName === "g" && el.parentNode.querySelector("rect");
    if (rect && w.getComputedStyle(rect).fill !== "none") return color(w.getComputedStyle(rect).fill);
    for (; el; el = el.parentElement) { const c = color(w.getComputedStyle(el).backgroundColor); if (c.length < 4 || c[3] > 0) return c; }
    return [255, 255, 255];
  };
  const walk = d.createTreeWalker(d.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const el = walk.currentNode.parentElement;
    if (!walk.currentNode.data.trim() || ["SCRIPT", "title", "NOSCRIPT"].includes(el.tagName) || el.className === "skip") continue;
    out.texts++;
    const style = w.getComputedStyle(el), [a, b] = [light(color(el.tagName === "text" ? style.fill : style.color)), light(behind(el))];
    const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    if (ratio < 4.5) out.contrast.push(ratio.toFixed(2) + " " + walk.currentNode.data.slice(0, 30));
    const box = el.getBoundingClientRect();
    if (!el.closest(".scroll") && box.right > w.innerWidth + .5) out.overflow.push(el.tagName + " " + walk.currentNode.data.slice(0, 30));
  }
  out.width = d.documentElement.scrollWidth;
  out.h1 = d.querySelector("h1").textContent;
  out.find = !d.getElementById("find").hidden;
  const input = d.getElementById("find-text");
  input.value = "prod-77";
  input.dispatchEvent(new w.Event("input"));
  out.found = d.getElementById("find-rows").rows.length;
  out.count = d.getElementById("find-count").textContent;
  out.focusable = [...d.querySelectorAll("a, input, summary, [tabindex]")].filter((el) => el.tabIndex < 0).length;
  out.unnamed = [...d.querySelectorAll("svg")].filter((s) => s.getAttribute("role") !== "img" ||
    !(s.getAttribute("aria-label") || d.getElementById(s.getAttribute("aria-labelledby")))).length;
  out.charts = d.querySelectorAll("svg").length;
  out.tables = [...d.querySelectorAll("svg")].filter((s) => s.closest("figure, section").querySelector("details table")).length;
  out.dark = w.matchMedia("(prefers-color-scheme: dark)").matches;
  document.getElementById("out").textContent = JSON.stringify(out);
});
</script>`

type seen struct {
	Overflow, Contrast             []string
	Texts, Width, Found, Focusable int
	Unnamed, Charts, Tables        int
	H1, Count                      string
	Find, Dark                     bool
}

var result = regexp.MustCompile(`(?s)<pre id="out">(.*?)</pre>`)

// chromium runs headless Chromium and returns its output.
func chromium(t *testing.T, args ...string) (stdout, stderr string) {
	t.Helper()
	all := append([]string{
		"--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
		"--disable-component-update", "--disable-sync", "--enable-logging=stderr", "--user-data-dir=" + t.TempDir(),
	}, args...)
	cmd := exec.CommandContext(t.Context(), "chromium", all...)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := cmd.Run(); err != nil {
		t.Fatalf("chromium: %v\n%s", err, errOut.String())
	}
	return out.String(), errOut.String()
}

// The page renders without errors, readable and within the screen, on a desktop and a phone, in light and dark mode,
// and with 10,000 projects.
func TestPageInBrowser(t *testing.T) {
	r := priced(testReport(10_000))
	r.Lost = lost()
	history := past(r)
	r.Changes = coverage.Compare(r, history)
	text := written(t, r, page.FullNames, history)
	width := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		if q.URL.Path == "/page.html" {
			fmt.Fprint(w, text)
			return
		}
		fmt.Fprintf(w, probe, width)
	}))
	t.Cleanup(server.Close)
	for _, width = range []int{1200, 360} {
		for _, dark := range []bool{false, true} {
			t.Run(fmt.Sprintf("%d px, dark %t", width, dark), func(t *testing.T) {
				scheme := "--blink-settings=preferredColorScheme=1"
				if dark {
					scheme = "--blink-settings=preferredColorScheme=0"
				}
				out, errOut := chromium(t, scheme, "--window-size=1300,900", "--virtual-time-budget=10000", "--dump-dom",
					server.URL+"/")
				for _, line := range strings.Split(errOut, "\n") {
					if strings.Contains(line, "CONSOLE") {
						t.Errorf("console: %s", line)
					}
				}
				m := result.FindStringSubmatch(out)
				var s seen
				if m == nil || json.Unmarshal([]byte(html.UnescapeString(m[1])), &s) != nil {
					t.Fatalf("the probe did not run: %.200q", m)
				}
				if len(s.Overflow) > 0 || s.Width > width {
					t.Errorf("%d px wide, beyond the screen: %q", s.Width, s.Overflow)
				}
				if len(s.Contrast) > 0 || s.Texts < 500 {
					t.Errorf("%d texts, hard to read: %q", s.Texts, s.Contrast)
				}
				if s.Dark != dark || !strings.Contains(s.H1, "of compute is allocated") {
					t.Errorf("dark %t, heading %q", s.Dark, s.H1)
				}
				if s.Focusable != 0 || s.Unnamed != 0 {
					t.Errorf("%d elements cannot be focused, %d charts have no name", s.Focusable, s.Unnamed)
				}
				if s.Charts != 5 || s.Tables != s.Charts {
					t.Errorf("%d charts, %d with a table", s.Charts, s.Tables)
				}
				// prod-77, prod-770 to -779, prod-7700 to -7799
				if !s.Find || s.Found != 50 || !strings.HasPrefix(s.Count, "111 of 10000") {
					t.Errorf("found %d rows, %q", s.Found, s.Count)
				}
			})
		}
	}
}

// lost returns a report's section on 14 lost keys.
func lost() *coverage.Lost {
	return &coverage.Lost{
		Since: now.AddDate(0, 0, -7), From: now.AddDate(0, 0, -3), To: now, Compared: 4_100, Count: 14, Resources: 12,
		By: []coverage.LostBy{
			{User: coverage.User{ID: "3f5a0c119e4d4b0f8a2c6d7e9f001122", Name: "heat-svc"}, Count: 11,
				PerKey: map[string]int{"owner": 7, "cost-center": 4}, Last: now.Add(-time.Hour)},
			{User: coverage.User{ID: "9d00c2b1a0f94e55b1f7c8d9e0a1b2c3"}, Count: 1, PerKey: map[string]int{"owner": 1},
				Last: now.Add(-30 * time.Hour)},
			{Count: 2, PerKey: map[string]int{"env": 2}},
		},
	}
}

// TestScreenshots writes screenshots of the page into the directory SCREENSHOTS, for manual review.
func TestScreenshots(t *testing.T) {
	dir := os.Getenv("SCREENSHOTS")
	if dir == "" {
		dir = t.TempDir()
	}
	r := priced(testReport(45))
	r.Lost = lost()
	history := past(r)
	r.Changes = coverage.Compare(r, history)
	file := filepath.Join(t.TempDir(), "page.html")
	if err := os.WriteFile(file, []byte(written(t, r, page.FullNames, history)), 0o600); err != nil {
		t.Fatal(err)
	}
	frame := filepath.Join(t.TempDir(), "frame.html") // Chromium's windows have a minimum width
	if err := os.WriteFile(frame, []byte(`<body style="margin:0"><iframe style="width:360px;height:3600px;border:0" src="`+
		file+`">`), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, args := range map[string][]string{
		"desktop": {"--window-size=1200,3200", "file://" + file}, "phone": {"--window-size=500,3600", "file://" + frame},
	} {
		for scheme, n := range map[string]string{"light": "1", "dark": "0"} {
			picture := filepath.Join(dir, name+"-"+scheme+".png")
			chromium(t, append([]string{"--blink-settings=preferredColorScheme=" + n, "--screenshot=" + picture}, args...)...)
			if info, err := os.Stat(picture); err != nil || info.Size() < 20_000 {
				t.Errorf("%s: %v", picture, err)
			}
		}
	}
	chromium(t, "--print-to-pdf="+filepath.Join(dir, "page.pdf"), "--no-pdf-header-footer", "file://"+file)
	if info, err := os.Stat(filepath.Join(dir, "page.pdf")); err != nil || info.Size() < 20_000 {
		t.Errorf("page.pdf: %v", err)
	}
}
