// Command bench compares the function server-created with an empty function, with a bare client, and with a client that
// uses Tagger's libraries without Tagger's code. It runs them in turn, and prints medians and ratios. CPU time and
// memory are the kernel's figures for each process.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/aws/aws-lambda-go/events"

	"github.com/cloudtagger/tagger/internal/lambdatest"
	"github.com/cloudtagger/tagger/pkg/simcloud"
)

const rules = "rules:\n- {name: env, on: server.created, set: {env: dev}}\n"

func main() {
	pairs := flag.Int("pairs", 21, "number of measurements of each cold start and of the command, in turn")
	warm := flag.Int("warm", 5, "number of measurements of each warm run, in turn")
	count := flag.Int("events", 3000, "number of events of a warm run, in batches of ten; "+
		"a fifth of them where requests take time")
	processors := flag.Int("processors", 0, "GOMAXPROCS of each function; 0 for its own choice")
	compute := flag.String("compute", "", "compare only warm runs, at this compute endpoint of the cloud in OS_*: "+
		"https://cloud.example.com/compute/v2.1")
	servers := flag.String("servers", "", "with -compute: the ids of ten servers or more, separated by commas, "+
		"whose key env is written")
	flag.Parse()
	b := bench{pairs: *pairs, warm: *warm, events: *count, processors: *processors}
	run := b.run
	if *compute != "" {
		run = func(ctx context.Context) error { return b.runAt(ctx, strings.TrimSuffix(*compute, "/"), *servers) }
	}
	if *count < 50 || *count%50 > 0 {
		fmt.Fprintln(os.Stderr, "bench: read -events: want a multiple of 50")
		os.Exit(2)
	}
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// bench is a comparison. Its fields are the flags.
type bench struct {
	pairs, warm, events, processors int
	// dir has the binaries.
	dir string
}

// latencies are those of the embedded cloud in more warm runs, for each request.
var latencies = []time.Duration{time.Millisecond, 5 * time.Millisecond, 20 * time.Millisecond}

const mebibyte = 1 << 20

// cost is the CPU time and the peak memory of a process.
type cost struct {
	events  int
	cpu     time.Duration
	memory  int64 // at most resident, in bytes
	elapsed time.Duration
}

// names are the compared functions.
func names() []string { return []string{"empty", "bare", "libraries", "server-created"} }

// build compiles the functions into a new directory, which the caller removes.
func (b *bench) build(ctx context.Context) error {
	var err error
	if b.dir, err = os.MkdirTemp("", "tagger-bench"); err != nil {
		return fmt.Errorf("create a directory: %w", err)
	}
	gcflags, err := os.ReadFile("../functions/gcflags") // the flags of the deployed function
	if err != nil {
		return fmt.Errorf("read the compiler flags: %w", err)
	}
	for i, pkg := range []string{"./empty", "./bare", "./libraries", "../functions/server-created"} {
		name := names()[i]
		args := []string{"build", "-tags", "lambda.norpc,nethttpomithttp2", "-trimpath", "-buildvcs=false",
			"-ldflags", "-s -w -buildid=", "-o", filepath.Join(b.dir, name)}
		if name == "server-created" {
			args = append(args, strings.Fields(string(gcflags))...)
		}
		build := exec.CommandContext(ctx, "go", append(args, ".")...)
		build.Dir, build.Env = pkg, append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			return fmt.Errorf("build %s: %w: %s", pkg, err, out)
		}
	}
	return nil
}

// run compares the functions at the embedded cloud.
func (b *bench) run(ctx context.Context) error {
	defer func() { os.RemoveAll(b.dir) }()
	if err := b.build(ctx); err != nil {
		return err
	}
	cold, err := b.compare(ctx, names(), b.pairs, 0, func() *cloud { return embedded(0) })
	if err != nil {
		return err
	}
	hot, err := b.compare(ctx, names()[1:], b.warm, b.events, func() *cloud { return embedded(0) })
	if err != nil {
		return err
	}
	header()
	row("cold start to the first poll, CPU ms", cold, func(c cost) float64 { return c.cpu.Seconds() * 1e3 })
	row("cold start to the first poll, elapsed ms", cold, func(c cost) float64 { return c.elapsed.Seconds() * 1e3 })
	row("memory at the first poll, MiB", cold, func(c cost) float64 { return float64(c.memory) / mebibyte })
	row("CPU an event, µs", hot, func(c cost) float64 { return c.cpu.Seconds() * 1e6 / float64(c.events) })
	row("Messages/Second", hot, perSecond)
	row(fmt.Sprintf("memory after %d events, MiB", b.events), hot, func(c cost) float64 {
		return float64(c.memory) / mebibyte
	})
	for _, latency := range latencies {
		slow, err := b.compare(ctx, names()[1:], b.warm, b.events/5, func() *cloud { return embedded(latency) })
		if err != nil {
			return err
		}
		row(fmt.Sprintf("Messages/Second, a request takes %s", latency), slow, perSecond)
	}
	for _, name := range names() {
		info, err := os.Stat(filepath.Join(b.dir, name))
		if err != nil {
			return fmt.Errorf("read the size of %s: %w", name, err)
		}
		fmt.Printf("binary of %s: %.2f MB\n", name, float64(info.Size())/1e6)
	}
	return b.command(ctx)
}

// runAt compares warm runs at a real cloud.
func (b *bench) runAt(ctx context.Context, compute, list string) error {
	servers := strings.FieldsFunc(list, func(r rune) bool { return r == ',' })
	if len(servers) < 10 {
		return errors.New("read -servers: fewer than ten ids; the events of a batch would wait for each other's server")
	}
	c := &cloud{compute: compute, close: func() {}, server: func(n int) string { return servers[n%len(servers)] }}
	for _, variable := range os.Environ() {
		if strings.HasPrefix(variable, "OS_") {
			c.env = append(c.env, variable)
		}
	}
	defer func() { os.RemoveAll(b.dir) }()
	if err := b.build(ctx); err != nil {
		return err
	}
	hot, err := b.compare(ctx, names()[1:], b.warm, b.events, func() *cloud { return c })
	if err != nil {
		return err
	}
	header()
	// The CPU time is not shown: a short run takes few of the kernel's ticks.
	row("Messages/Second", hot, perSecond)
	return nil
}

// compare measures functions in turn, each several times. It returns their costs by their names.
func (b *bench) compare(ctx context.Context, names []string, times, events int, at func() *cloud,
) (map[string][]cost, error) {
	all := map[string][]cost{}
	for range times {
		for _, name := range names {
			c, err := b.measure(ctx, name, events, at())
			if err != nil {
				return nil, fmt.Errorf("measure %s: %w", name, err)
			}
			all[name] = append(all[name], c)
		}
	}
	return all, nil
}

func header() {
	fmt.Printf("%-44s %10s %10s %10s %14s %8s %8s %11s\n", "median", "empty", "bare", "libraries", "server-created",
		"/ empty", "/ bare", "/ libraries")
}

// row prints the medians of a figure, and their ratios.
func row(what string, of map[string][]cost, value func(cost) float64) {
	medians := map[string]float64{}
	shown := map[string]string{}
	for _, name := range names() {
		shown[name] = "-"
		if all := of[name]; len(all) > 0 {
			medians[name] = median(all, value)
			shown[name] = fmt.Sprintf("%.1f", medians[name])
		}
	}
	ratio := func(to string) string {
		if medians[to] == 0 {
			return "-"
		}
		return fmt.Sprintf("%.2f", medians["server-created"]/medians[to])
	}
	fmt.Printf("%-44s %10s %10s %10s %14s %8s %8s %11s\n", what, shown["empty"], shown["bare"], shown["libraries"],
		shown["server-created"], ratio("empty"), ratio("bare"), ratio("libraries"))
}

func perSecond(c cost) float64 { return float64(c.events) / c.elapsed.Seconds() }

// command measures the command line: it tags one server in each of several processes, the login included.
func (b *bench) command(ctx context.Context) error {
	tagger := filepath.Join(b.dir, "tagger")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", tagger, ".")
	build.Dir, build.Env = "../cmd/tagger", append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build tagger: %w: %s", err, out)
	}
	if err := os.WriteFile(filepath.Join(b.dir, "rules.yaml"), []byte(rules), 0o600); err != nil {
		return fmt.Errorf("write the rules: %w", err)
	}
	sim := simcloud.New(simcloud.Options{JournalSize: -1})
	server := httptest.NewServer(sim)
	defer server.Close()
	var all []cost
	for n := range b.pairs {
		id := serverID(n)
		sim.PutServer(simcloud.Server{ID: id})
		cmd := exec.CommandContext(ctx, tagger, "invoke", "--rules", filepath.Join(b.dir, "rules.yaml"), "--cloud", "env",
			"-")
		cmd.Env, cmd.Stdin = sim.Env(server.URL), strings.NewReader(createdEvent(id, n))
		began := time.Now()
		out, err := cmd.CombinedOutput()
		if err != nil {
			return fmt.Errorf("tag a server from the command line: %w: %s", err, out)
		}
		if s, _ := sim.Server(id); s.Metadata["env"] != "dev" {
			return fmt.Errorf("the command line has not tagged server %s: %s", id, out)
		}
		cpu := cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
		all = append(all, cost{elapsed: time.Since(began), cpu: cpu})
	}
	fmt.Printf("one server tagged from the command line: CPU %.1f ms, elapsed %.1f ms\n",
		median(all, func(c cost) float64 { return c.cpu.Seconds() * 1e3 }),
		median(all, func(c cost) float64 { return c.elapsed.Seconds() * 1e3 }))
	return nil
}

func serverID(n int) string { return fmt.Sprintf("8c1f0a6e-5b0d-4a3e-9f52-%012d", n) }

// createdEvent returns the n-th event, which reports the creation of a server.
func createdEvent(id string, n int) string {
	return fmt.Sprintf(`{"specversion": "1.0", "id": "e-%[1]s-%[2]d", "source": "//bench", `+
		`"type": "io.github.cloudtagger.server.created", "subject": %[1]q, "time": %[3]q}`,
		id, n, time.Now().UTC().Format(time.RFC3339))
}

func median(all []cost, value func(cost) float64) float64 {
	var values []float64
	for _, c := range all {
		values = append(values, value(c))
	}
	slices.Sort(values)
	return values[len(values)/2]
}

// cloud is where the functions tag servers.
type cloud struct {
	// env has the credentials, compute is the compute endpoint without a trailing slash.
	env     []string
	compute string
	// server returns the id of the n-th event's server.
	server func(n int) string
	// tagged, if not nil, reports whether a server has the metadata.
	tagged func(id string) bool
	close  func()
}

// embedded starts an embedded cloud whose requests take the given time.
func embedded(latency time.Duration) *cloud {
	sim := simcloud.New(simcloud.Options{JournalSize: -1, Latency: latency})
	server := httptest.NewServer(sim)
	return &cloud{
		env: sim.Env(server.URL), compute: server.URL + "/compute/v2.1", close: server.Close,
		server: func(n int) string {
			id := serverID(n)
			sim.PutServer(simcloud.Server{ID: id})
			return id
		},
		tagged: func(id string) bool {
			s, _ := sim.Server(id)
			return s.Metadata["env"] == "dev"
		},
	}
}

// measure starts a function, lets it tag servers for the given number of events after its first poll, and stops it. The
// cost of starting is then not counted.
func (b *bench) measure(ctx context.Context, name string, count int, at *cloud) (cost, error) {
	defer at.close()
	runtime, aws := lambdatest.NewRuntimeAPI(), lambdatest.NewAWS()
	defer runtime.Close()
	defer aws.Close()
	if err := aws.SetCredentials(at.env); err != nil {
		return cost{}, err
	}
	cmd := exec.CommandContext(ctx, filepath.Join(b.dir, name))
	cmd.Env = append(aws.Environ(runtime), "TAGGER_RULES="+rules, "TAGGER_RATE=0", "TAGGER_LOG_LEVEL=warn",
		"AWS_LAMBDA_FUNCTION_MEMORY_SIZE=256")
	if b.processors > 0 {
		cmd.Env = append(cmd.Env, fmt.Sprintf("GOMAXPROCS=%d", b.processors))
	}
	if name != "server-created" { // which reads its credentials from the secret
		cmd.Env = append(cmd.Env, append(slices.Clip(at.env), "BARE_COMPUTE="+at.compute)...)
	}
	cmd.Stderr = os.Stderr
	began := time.Now()
	if err := cmd.Start(); err != nil {
		return cost{}, fmt.Errorf("start: %w", err)
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(ended)
	}()
	stop := func() {
		_ = cmd.Process.Signal(syscall.SIGKILL)
		<-ended
	}
	defer stop()
	select {
	case <-runtime.Polled():
	case <-ended:
		return cost{}, fmt.Errorf("the function ended before its first poll: %s", cmd.ProcessState)
	}
	var base cost
	if count > 0 {
		// The first batch logs in and is not counted.
		if err := tag(ctx, runtime, at, 0, 10); err != nil {
			return cost{}, err
		}
		var err error
		if base.cpu, err = used(cmd.Process.Pid); err != nil {
			return cost{}, err
		}
		began = time.Now()
		if err := tag(ctx, runtime, at, 10, count); err != nil {
			return cost{}, err
		}
	}
	c := cost{events: count, elapsed: time.Since(began)}
	var err error
	if c.memory, err = peak(cmd.Process.Pid); err != nil {
		return cost{}, err
	}
	stop()
	c.cpu = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime() - base.cpu
	return c, nil
}

// peak returns the peak memory of a running process in bytes. The figure of wait4 includes the parent before exec.
func peak(pid int) (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, fmt.Errorf("read the process's memory: %w", err)
	}
	_, rest, _ := strings.Cut(string(text), "\nVmHWM:")
	var kibibytes int64
	if _, err := fmt.Sscan(rest, &kibibytes); err != nil {
		return 0, fmt.Errorf("read the process's memory: %w", err)
	}
	return kibibytes << 10, nil
}

// used returns the CPU time of a running process, in ticks of 10 ms (proc(5)).
func used(pid int) (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, fmt.Errorf("read the process's CPU time: %w", err)
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0, fmt.Errorf("read the process's CPU time: %q", text)
	}
	var user, system int64
	if _, err := fmt.Sscan(fields[11]+" "+fields[12], &user, &system); err != nil {
		return 0, fmt.Errorf("read the process's CPU time: %w", err)
	}
	return time.Duration(user+system) * 10 * time.Millisecond, nil
}

// tag sends the given number of events in batches of ten and checks that each server is tagged.
func tag(ctx context.Context, runtime *lambdatest.RuntimeAPI, at *cloud, first, count int) error {
	for from := first; from < first+count; from += 10 {
		var batch events.SQSEvent
		var ids []string
		for n := from; n < from+10; n++ {
			id := at.server(n)
			ids = append(ids, id)
			batch.Records = append(batch.Records, events.SQSMessage{
				MessageId: id, ReceiptHandle: "r", EventSource: "aws:sqs", AWSRegion: "eu-central-1",
				EventSourceARN: "arn:aws:sqs:eu-central-1:123456789012:tagger",
				Attributes: map[string]string{"ApproximateReceiveCount": "1",
					"SentTimestamp": fmt.Sprint(time.Now().UnixMilli())},
				Body: createdEvent(id, n),
			})
		}
		payload, err := json.Marshal(batch)
		if err != nil {
			return fmt.Errorf("encode a batch: %w", err)
		}
		answer, err := runtime.Invoke(ctx, payload, time.Minute)
		if err != nil {
			return err
		}
		var response events.SQSEventResponse
		if err := json.Unmarshal(answer.Body, &response); err != nil || answer.Failed || len(response.BatchItemFailures) > 0 {
			return fmt.Errorf("a batch failed: %s", answer.Body)
		}
		for _, id := range ids {
			if at.tagged != nil && !at.tagged(id) {
				return fmt.Errorf("server %s is not tagged: %s", id, answer.Body)
			}
		}
	}
	return nil
}
