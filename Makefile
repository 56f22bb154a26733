# Everything here needs Go only, unless its line says otherwise.

FUNCTIONS   := server-created server-changed volume-created volume-changed snapshot-created reconcile
ARCHS       := arm64 amd64
# The functions are compiled without inlining (-l), which makes a binary 0.8 MB smaller, except in packages whose code
# runs for each event or each byte of a connection. See docs/performance.md.
GCFLAGS     := $(shell cat functions/gcflags)
BUILD       := CGO_ENABLED=0 GOOS=linux go build -tags lambda.norpc,nethttpomithttp2 -trimpath -buildvcs=false -ldflags "-s -w -buildid=" $(GCFLAGS)
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
FUZZTIME    ?= 5s

.DEFAULT_GOAL := help
.PHONY: help run test race test-sqs openstack openstack-down test-openstack lint build template-check shell-check redrive fuzz chaos bench clean

help: ## Try: List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {split($$2, part, ": "); g = part[1]; if (!(g in all)) order[++n] = g; \
		all[g] = all[g] sprintf("  make %-19s %s\n", $$1, substr($$2, length(g) + 3))} \
		END {for (i = 1; i <= n; i++) printf "%s%s\n%s", (i > 1 ? "\n" : ""), order[i], all[order[i]]}' $(MAKEFILE_LIST)

run: ## Try: Tag a server and a snapshot in the embedded cloud, and show how
	@go run ./cmd/tagger invoke --cloud embedded --rules docs/examples/rules.yaml events/server-created.json events/snapshot-created.json

test: ## Test: Run all tests (no network but the Go modules)
	go test -shuffle=on ./...

race: ## Test: Run all tests with the race detector (needs a C compiler)
	go test -race -shuffle=on -count=1 ./...

test-sqs: ## Test: Run a function and the sink of tagger listen at queues (needs moto_server)
	go test -tags sqs -run '^TestQueue' -v -count=1 -timeout 5m ./functions

openstack: ## Try: Start a real OpenStack on loopback (Debian 12, root; deploy/openstack-dev/README.md)
	@deploy/openstack-dev/up

openstack-down: ## Try: Stop it; WIPE=1 removes its state too
	@deploy/openstack-dev/down

test-openstack: ## Test: Run the tests that need a real OpenStack and its broker; starts it if it is not up
	@deploy/openstack-dev/test

lint: ## Check: Check formatting, go vet, staticcheck and go.mod
	@test -z "$$(gofmt -l .)" || { gofmt -l .; echo "gofmt would change these files"; exit 1; }
	go vet -tags chaos,chromium,openstack,rabbitmq,scale,soak,sqs ./...
	go run $(STATICCHECK) -tags chaos,chromium,openstack,rabbitmq,scale,soak,sqs ./...
	go mod tidy -diff

build: ## Build: Build each function for AWS Lambda, arm64 and amd64, into dist/ (6 MiB zipped at most)
	@for arch in $(ARCHS); do for f in $(FUNCTIONS); do \
		mkdir -p dist/$$arch/$$f && \
		GOARCH=$$arch $(BUILD) -o dist/$$arch/$$f/bootstrap ./functions/$$f && \
		go run ./deploy/aws/pack dist/$$arch/$$f/bootstrap dist/$$f-$$arch.zip || exit 1; \
	done; done

template-check: ## Check: Check template.yaml (needs cfn-lint)
	@command -v cfn-lint >/dev/null || { echo "cfn-lint is not installed: pip install cfn-lint"; exit 1; }
	cfn-lint --include-checks I -- template.yaml

shell-check: ## Check: Check the shell scripts (needs shellcheck)
	@command -v shellcheck >/dev/null || { echo "shellcheck is not installed: apt-get install shellcheck"; exit 1; }
	shellcheck -x -P SCRIPTDIR -P SCRIPTDIR/lib -- .ci/run $(addprefix deploy/openstack-dev/,up down install test evening rabbitmqctl lib/*.sh) deploy/kolla/policies.sh deploy/systemd/*.sh

# Records that a function itself sent to the dead-letter queue have no source queue for SQS, so that TO is not optional.
redrive: ## Operate: Send dead letters to a queue again: FROM=ARN TO=ARN (needs the AWS CLI)
	@case "$(FROM) $(TO)" in arn:*:sqs:*" "arn:*:sqs:*) ;; *) \
		echo "name both queues by their ARNs: make redrive FROM=arn:aws:sqs:REGION:ACCOUNT:DEAD-LETTER-QUEUE TO=arn:aws:sqs:REGION:ACCOUNT:QUEUE"; exit 1;; esac
	@[ "$(FROM)" != "$(TO)" ] || { echo "FROM and TO are the same queue"; exit 1; }
	@[ "$(word 4,$(subst :, ,$(FROM)))" = "$(word 4,$(subst :, ,$(TO)))" ] || { echo "FROM and TO are in different regions; SQS moves messages within one"; exit 1; }
	@command -v aws >/dev/null || { echo "the AWS CLI is not installed: pip install awscli"; exit 1; }
	aws sqs start-message-move-task --region "$(word 4,$(subst :, ,$(FROM)))" --source-arn "$(FROM)" --destination-arn "$(TO)"
	@echo 'How far it is: aws sqs list-message-move-tasks --region "$(word 4,$(subst :, ,$(FROM)))" --source-arn "$(FROM)"'

# Until Go 1.27, a fuzz run can end with "context deadline exceeded" when its time is over (go.dev/issue/75804): that
# alone is no failure.
fuzz: ## Test: Run every fuzz target for FUZZTIME (5s) each
	@set -e; for pkg in $$(go list ./...); do \
		for target in $$(go test -list '^Fuzz' $$pkg | grep '^Fuzz' || true); do \
			echo "$$pkg $$target"; \
			if out=$$(go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 1x $$pkg 2>&1); then \
				echo "$$out" | tail -n 2; \
			else \
				echo "$$out"; \
				case "$$out" in *"Failing input"*|*panic*) exit 1;; *"context deadline exceeded"*) ;; *) exit 1;; esac; \
			fi; \
		done; \
	done

EVENTS ?= 10000
SEED   ?= 1
chaos: ## Test: Run 10,000 events under faults: EVENTS, SEED; the last line counts the lost ones
	@status=$$(mktemp); { go test -count=1 -tags chaos -run TestChaos ./pkg/host -v -timeout 15m -args -events $(EVENTS) -seed $(SEED) 2>&1; echo $$? > $$status; } \
		| grep --line-buffered -vE '^(=== |--- |PASS|FAIL|ok )'; read code < $$status; rm -f $$status; exit $$code

MINUTES ?= 5
.PHONY: soak
soak: ## Measure: Attack serve, a function and listen in control groups: MINUTES (needs root, rabbitmq-server)
	go test -count=1 -tags soak -v -timeout 60m ./soak -args -minutes $(MINUTES)

# Its largest part is the million events: 10 minutes on two cores that have nothing else to do. EVENTS and SERVERS make it shorter.
.PHONY: scale
scale: ## Measure: Process a million events at constant memory: EVENTS, SERVERS
	go test -count=1 -tags scale -v -timeout 60m ./scale -args -events $(if $(filter file,$(origin EVENTS)),1000000,$(EVENTS)) -servers $(or $(SERVERS),10000)

bench: ## Measure: Compare a function with an empty one, a bare client and the libraries; the command
	cd bench && go vet ./... && go run .

.PHONY: bench-go
bench-go: ## Measure: Run the Go benchmarks of the packages
	go test -run '^$$' -bench . -benchmem ./...

.PHONY: bench-listener
bench-listener: ## Measure: Measure tagger listen at a real RabbitMQ: CPU a message (needs rabbitmq-server)
	cd bench && go vet ./... && go test -count=1 -v -timeout 60m -run TestListener .

clean: ## Build: Remove what was built
	rm -rf dist

# What "sam build" calls, one for each function of template.yaml. ARTIFACTS_DIR is its own; arm64 is the template's architecture.
.PHONY: build-ServerCreatedFunction build-SnapshotCreatedFunction build-ServerChangedFunction build-VolumeCreatedFunction build-VolumeChangedFunction build-ReconcileFunction
build-ServerCreatedFunction:
	GOARCH=arm64 $(BUILD) -o $(ARTIFACTS_DIR)/bootstrap ./functions/server-created
build-SnapshotCreatedFunction:
	GOARCH=arm64 $(BUILD) -o $(ARTIFACTS_DIR)/bootstrap ./functions/snapshot-created
build-ServerChangedFunction:
	GOARCH=arm64 $(BUILD) -o $(ARTIFACTS_DIR)/bootstrap ./functions/server-changed
build-VolumeCreatedFunction:
	GOARCH=arm64 $(BUILD) -o $(ARTIFACTS_DIR)/bootstrap ./functions/volume-created
build-VolumeChangedFunction:
	GOARCH=arm64 $(BUILD) -o $(ARTIFACTS_DIR)/bootstrap ./functions/volume-changed
build-ReconcileFunction:
	GOARCH=arm64 $(BUILD) -o $(ARTIFACTS_DIR)/bootstrap ./functions/reconcile

# What the homes need besides: each target says what it needs.
.PHONY: test-template test-knative
test-template: ## Test: Compare what SAM makes of template.yaml, and make its stack in moto (needs Python)
	@python3 -c 'import boto3, moto, samtranslator' || { echo "not installed: pip install aws-sam-translator 'moto[all]'"; exit 1; }
	python3 deploy/aws/template_test.py

test-knative: ## Test: Run tagger serve against Knative's broker (the first build takes 5 minutes)
	cd deploy/knative && go vet ./... && go test -count=1 -timeout 10m ./...

.PHONY: test-monitoring
test-monitoring: ## Test: Check alert rules, their tests and the dashboard's queries (needs promtool)
	@command -v promtool >/dev/null || { echo "promtool is not installed: apt-get install prometheus"; exit 1; }
	python3 deploy/monitoring/check.py

.PHONY: dist test-release test-chart test-functiongraph
dist: ## Build: Make a release of this commit in dist/: archives, packages, image, checksums
	cd deploy/release && go run . -root $(CURDIR) -out $(CURDIR)/dist

test-release: ## Test: Make a release twice, compare, unpack and run it (needs dpkg, rpm, cpio, systemd-analyze)
	cd deploy/release && go vet ./... && go test -count=1 -timeout 30m ./...

.PHONY: test-publish
test-publish: ## Test: Let GoReleaser publish a release to a fake GitHub (the first build takes ten minutes)
	cd deploy/release && go vet -tags goreleaser ./... && go test -count=1 -timeout 60m -tags goreleaser -run '^TestPublish$$' .

test-chart: ## Test: Lint and render the Helm chart, and compare it with Kubernetes' types and the command
	cd deploy/kubernetes && go vet ./... && go test -count=1 -timeout 20m ./...

test-functiongraph: ## Test: Check the Terraform module against the provider's documentation (needs terraform)
	@command -v terraform >/dev/null || { echo "terraform is not installed: https://developer.hashicorp.com/terraform/install"; exit 1; }
	terraform fmt -check -diff deploy/functiongraph
	cd deploy/functiongraph && go vet ./... && go test -count=1 ./...

.PHONY: test-rabbitmq
test-rabbitmq: ## Test: Run tagger listen at RabbitMQ (needs rabbitmq-server and the clone's history)
	go test -count=1 -timeout 40m -tags rabbitmq -v ./deploy/rabbitmq

.PHONY: test-page
test-page: ## Test: Render the page of tagger coverage in Chromium; SCREENSHOTS=DIR keeps pictures
	@command -v chromium >/dev/null || { echo "chromium is not installed: apt-get install chromium"; exit 1; }
	go test -count=1 -timeout 10m -tags chromium -run 'TestPageInBrowser|TestScreenshots' ./pkg/coverage/page

.PHONY: workflow-check
workflow-check: ## Check: Check the GitHub workflows (actionlint; shellcheck if it is installed)
	go run github.com/rhysd/actionlint/cmd/actionlint@v1.7.12

.PHONY: golangci-lint
golangci-lint: ## Check: Run golangci-lint with .golangci.yml (the first build takes minutes)
	go run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.4.0 run ./...
