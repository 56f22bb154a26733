// Command bench compares the function server-created with an empty function, with a bare client, and with a client that
// uses Tagger's libraries without Tagger's code. It runs them in turn, and prints medians and ratios. CPU time and
// memory are the kernel's figures for each process.
package main

import (
	"context"
	"encoding/json"
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
	count := flag.Int("events", 3000, "number of events of a warm run, in batches of ten")
	processors := flag.Int("processors", 0, "GOMAXPROCS of each function; 0 for its own choice")
	flag.Parse()
	if err := run(context.Background(), *pairs, *warm, *count, *processors); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

const mebibyte = 1 << 20

// cost is the CPU time and the peak memory of a process.
type cost struct {
	cpu     time.Duration
	memory  int64 // at most resident, in bytes
	elapsed time.Duration
}

func run(ctx context.Context, pairs, warm, count, processors int) error {
	dir, err := os.MkdirTemp("", "tagger-bench")
	if err != nil {
		return fmt.Errorf("create a directory: %w", err)
	}
	defer os.RemoveAll(dir)
	names := []string{"empty", "bare", "libraries", "server-created"}
	gcflags, err := os.ReadFile("../functions/gcflags") // the flags of the deployed function
	if err != nil {
		return fmt.Errorf("read the compiler flags: %w", err)
	}
	for i, pkg := range []string{"./empty", "./bare", "./libraries", "../functions/server-created"} {
		args := []string{"build", "-tags", "lambda.norpc,nethttpomithttp2", "-trimpath", "-buildvcs=false",
			"-ldflags", "-s -w -buildid=", "-o", filepath.Join(dir, names[i])}
		if names[i] == "server-created" {
			args = append(args, strings.Fields(string(gcflags))...)
		}
		build := exec.CommandContext(ctx, "go", append(args, ".")...)
		build.Dir, build.Env = pkg, append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			return fmt.Errorf("build %s: %w: %s", pkg, err, out)
		}
	}

	cold, hot := map[string][]cost{}, map[string][]cost{}
	for range pairs {
		for _, name := range names {
			c, err := measure(ctx, filepath.Join(dir, name), 0, processors)
			if err != nil {
				return fmt.Errorf("start %s: %w", name, err)
			}
			cold[name] = append(cold[name], c)
		}
	}
	for range warm {
		for _, name := range names[1:] {
			c, err := measure(ctx, filepath.Join(dir, name), count, processors)
			if err != nil {
				return fmt.Errorf("measure %s: %w", name, err)
			}
			hot[name] = append(hot[name], c)
		}
	}

	fmt.Printf("%-44s %10s %10s %10s %14s %8s %8s %11s\n", "median", "empty", "bare", "libraries", "server-created",
		"/ empty", "/ bare", "/ libraries")
	row := func(what string, of map[string][]cost, value func(cost) float64) {
		m := map[string]float64{}
		for name, all := range of {
			m[name] = median(all, value)
		}
		shown := map[string]string{}
		for _, name := range names {
			shown[name] = "-"
			if v, ok := m[name]; ok {
				shown[name] = fmt.Sprintf("%.1f", v)
			}
		}
		ratio := func(to string) string {
			if m[to] == 0 {
				return "-"
			}
			return fmt.Sprintf("%.2f", m["server-created"]/m[to])
		}
		fmt.Printf("%-44s %10s %10s %10s %14s %8s %8s %11s\n", what, shown["empty"], shown["bare"], shown["libraries"],
			shown["server-created"], ratio("empty"), ratio("bare"), ratio("libraries"))
	}
	row("cold start to the first poll, CPU ms", cold, func(c cost) float64 { return c.cpu.Seconds() * 1e3 })
	row("cold start to the first poll, elapsed ms", cold, func(c cost) float64 { return c.elapsed.Seconds() * 1e3 })
	row("memory at the first poll, MiB", cold, func(c cost) float64 { return float64(c.memory) / mebibyte })
	row("CPU an event, µs", hot, func(c cost) float64 { return c.cpu.Seconds() * 1e6 / float64(count) })
	row("Messages/Second", hot, func(c cost) float64 { return float64(count) / c.elapsed.Seconds() })
	row(fmt.Sprintf("memory after %d events, MiB", count), hot, func(c cost) float64 {
		return float64(c.memory) / mebibyte
	})
	for _, name := range names {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			return fmt.Errorf("read the size of %s: %w", name, err)
		}
		fmt.Printf("binary of %s: %.2f MB\n", name, float64(info.Size())/1e6)
	}
	return command(ctx, dir, pairs)
}

// command measures the command line: it tags one server in each of several processes, the login included.
func command(ctx context.Context, dir string, runs int) error {
	tagger := filepath.Join(dir, "tagger")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", tagger, ".")
	build.Dir, build.Env = "../cmd/tagger", append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build tagger: %w: %s", err, out)
	}
	if err := os.WriteFile(filepath.Join(dir, "rules.yaml"), []byte(rules), 0o600); err != nil {
		return fmt.Errorf("write the rules: %w", err)
	}
	sim := simcloud.New(simcloud.Options{JournalSize: -1})
	cloud := httptest.NewServer(sim)
	defer cloud.Close()
	var all []cost
	for n := range runs {
		id := serverID(n)
		sim.PutServer(simcloud.Server{ID: id})
		cmd := exec.CommandContext(ctx, tagger, "invoke", "--rules", filepath.Join(dir, "rules.yaml"), "--cloud", "env", "-")
		cmd.Env, cmd.Stdin = sim.Env(cloud.URL), strings.NewReader(createdEvent(id))
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

// createdEvent returns the event that reports the creation of a server.
func createdEvent(id string) string {
	return fmt.Sprintf(`{"specversion": "1.0", "id": "e-%[1]s", "source": "//bench", `+
		`"type": "io.github.cloudtagger.server.created", "subject": %[1]q, "time": %[2]q}`,
		id, time.Now().UTC().Format(time.RFC3339))
}

func median(all []cost, value func(cost) float64) float64 {
	var values []float64
	for _, c := range all {
		values = append(values, value(c))
	}
	slices.Sort(values)
	return values[len(values)/2]
}

// measure starts a function, lets it tag the given number of servers after its first poll, and stops it. The cost of
// starting is then not counted.
func measure(ctx context.Context, path string, count, processors int) (cost, error) {
	runtime, aws := lambdatest.NewRuntimeAPI(), lambdatest.NewAWS()
	defer runtime.Close()
	defer aws.Close()
	sim := simcloud.New(simcloud.Options{JournalSize: -1})
	cloud := httptest.NewServer(sim)
	defer cloud.Close()
	credentials := sim.Env(cloud.URL)
	if err := aws.SetCredentials(credentials); err != nil {
		return cost{}, err
	}
	cmd := exec.CommandContext(ctx, path)
	cmd.Env = append(aws.Environ(runtime), "TAGGER_RULES="+rules, "TAGGER_RATE=0", "TAGGER_LOG_LEVEL=warn",
		"AWS_LAMBDA_FUNCTION_MEMORY_SIZE=256")
	if processors > 0 {
		cmd.Env = append(cmd.Env, fmt.Sprintf("GOMAXPROCS=%d", processors))
	}
	if !strings.HasSuffix(path, "server-created") { // which reads its credentials from the secret
		cmd.Env = append(cmd.Env, append(credentials, "BARE_COMPUTE="+cloud.URL+"/compute/v2.1")...)
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
		if err := tag(ctx, runtime, sim, 0, 10); err != nil {
			return cost{}, err
		}
		var err error
		if base.cpu, err = used(cmd.Process.Pid); err != nil {
			return cost{}, err
		}
		began = time.Now()
		if err := tag(ctx, runtime, sim, 10, count); err != nil {
			return cost{}, err
		}
	}
	c := cost{elapsed: time.Since(began)}
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
func tag(ctx context.Context, runtime *lambdatest.RuntimeAPI, sim *simcloud.Cloud, first, count int) error {
	for from := first; from < first+count; from += 10 {
		var batch events.SQSEvent
		for n := from; n < from+10; n++ {
			sim.PutServer(simcloud.Server{ID: serverID(n)})
			batch.Records = append(batch.Records, events.SQSMessage{
				MessageId: serverID(n), ReceiptHandle: "r", EventSource: "aws:sqs", AWSRegion: "eu-central-1",
				EventSourceARN: "arn:aws:sqs:eu-central-1:123456789012:tagger",
				Attributes: map[string]string{"ApproximateReceiveCount": "1",
					"SentTimestamp": fmt.Sprint(time.Now().UnixMilli())},
				Body: createdEvent(serverID(n)),
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
		if answer.Failed {
			return fmt.Errorf("a batch failed: %s", answer.Body)
		}
		for n := from; n < from+10; n++ {
			if s, _ := sim.Server(serverID(n)); s.Metadata["env"] != "dev" {
				return fmt.Errorf("server %s is not tagged: %s", serverID(n), answer.Body)
			}
		}
	}
	return nil
}
