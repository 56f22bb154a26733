"""Has promtool check the alert rules, run their unit tests, and read every query of the dashboard.

    make test-monitoring        (needs promtool, which Debian has in its package prometheus)
"""

import json
import pathlib
import re
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent


def promtool(*arguments):
    subprocess.run(["promtool", *arguments], check=True)


def metrics():
    """The names of the metrics in the code, and of what a histogram has."""
    names = set()
    for package in ("metrics", "listen"):
        for file in (ROOT / "pkg" / package).glob("*.go"):
            if not file.name.endswith("_test.go"):
                names |= set(re.findall(r"\btagger_[a-z_]+\b", file.read_text()))
    gauges = re.findall(r'gauge\("([a-z_]+)"', (ROOT / "pkg" / "coverage" / "prometheus.go").read_text())
    return names | {f"tagger_coverage_{gauge}" for gauge in gauges}


def anchors(markdown):
    """The anchors of a page's headings, as GitHub makes them."""
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in re.findall(r"^#+ (.*)$", markdown, re.M)}


def main():
    problems = []
    promtool("check", "rules", str(HERE / "alerts.yaml"))
    promtool("test", "rules", str(HERE / "alerts_test.yaml"))

    # Each query of the dashboard becomes the rule of a file that promtool checks.
    panels = json.loads((HERE / "dashboard.json").read_text())["panels"]
    queries = [t["expr"] for p in panels for t in p["targets"]]
    rules = [
        {"record": "query", "labels": {"n": str(n)}, "expr": q.replace("$__rate_interval", "5m").replace("$job", ".*")}
        for n, q in enumerate(queries)
    ]
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as f:
        json.dump({"groups": [{"name": "dashboard", "rules": rules}]}, f)
        f.flush()
        promtool("check", "rules", f.name)
    if len(queries) < len(panels):
        problems.append("a panel of the dashboard has no query")

    alerts, known = (HERE / "alerts.yaml").read_text(), metrics()
    for name in re.findall(r"\btagger_[a-z_]+\b", alerts + "\n".join(queries)):
        if name not in known:
            problems.append(f"the code has no metric {name}")
    runbook = ROOT / "docs" / "runbook.md"
    headings = anchors(runbook.read_text())
    fired = (HERE / "alerts_test.yaml").read_text()
    for alert, anchor in re.findall(r"- alert: (\w+)$.*?runbook\.md#([\w-]+)", alerts, re.M | re.S):
        if anchor not in headings:
            problems.append(f"{alert}: docs/runbook.md has no heading #{anchor}")
        if alert not in runbook.read_text():
            problems.append(f"{alert}: docs/runbook.md does not name it")
        if f'alertname="{alert}"' not in fired and not re.search(rf"alertname: {alert}(\n|,[^\n]*exp_labels)", fired):
            problems.append(f"{alert}: alerts_test.yaml has no case in which it fires")
    if alerts != (HERE.parent / "kubernetes" / "chart" / "files" / "alerts.yaml").read_text():
        problems.append("the chart has other alerts: cp deploy/monitoring/alerts.yaml deploy/kubernetes/chart/files/")
    if len(re.findall(r"^  - alert: ", alerts, re.M)) != len(re.findall(r"runbook\.md#[\w-]+$", alerts, re.M)):
        problems.append("an alert has no runbook_url")
    for p in problems:
        print(p)
    sys.exit(bool(problems))


main()
