# Two commands for a newcomer: `make run` and `make test`. Each checks for what
# it needs and installs it as root, or prints the command and stops.

CARGO ?= cargo
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

# What the native parts of dependencies (SQLite, zstd, ring) are built with.
PACKAGES := gcc libc6-dev make
# What librdkafka is built with, of the feature kafka: tests have it, `make run` does not.
test test-deploy test-kubernetes test-engines system-test check deny bench-scale: PACKAGES += g++ libssl-dev pkg-config zlib1g-dev

.PHONY: help run test features test-openapi openapi-tools test-engines engines java clients postgres journal-remote peers check bench bench-buffer bench-store bench-collect bench-ship bench-scale test-deploy test-deploy-apiserver test-kubernetes etcd deploy-tools kill-test ledger-test system-test fuzz deny docs setup wasm clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

setup:
	@command -v $(CARGO) >/dev/null || { echo "Rust is missing; install it from https://rustup.rs (1.95 or newer), then run make again." >&2; exit 1; }
	@missing=""; for p in $(PACKAGES); do dpkg -s $$p >/dev/null 2>&1 || missing="$$missing $$p"; done; \
	if ! command -v dpkg >/dev/null; then command -v cc >/dev/null || { echo "a C compiler is missing; install one with your system's packages" >&2; exit 1; }; \
	elif [ -n "$$missing" ]; then \
		if [ "$$(id -u)" = 0 ]; then apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $$missing; \
		else echo "missing packages; run: sudo apt-get install -y$$missing" >&2; exit 1; fi; \
	fi

run: setup ## build the system and run it with sample data (mscp-log demo)
	$(CARGO) run --release --locked -p mscp-log-server --bin mscp-log -- demo

test: setup wasm ## everything that CI runs: format, lints, all tests, real stores, Kafka and PostgreSQL
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --all-features --locked -- -D warnings
	$(CARGO) build --workspace --locked --bins --tests
	$(CARGO) test --workspace --locked --doc
	@$(MAKE) --no-print-directory features
	@$(MAKE) --no-print-directory engines ENGINES=$(USUAL_ENGINES)
	@$(MAKE) --no-print-directory clients
	@$(MAKE) --no-print-directory journal-remote
	@$(MAKE) --no-print-directory postgres
	ENGINES=$(USUAL_ENGINES) $(CARGO) test --workspace --locked --tests
	target/debug/with-postgres $(CARGO) test --workspace --locked --lib -- identity::
	@$(MAKE) --no-print-directory openapi-tools
	$(OPENAPI)/python/bin/python tests/openapi/run.py --program target/debug/mscp-log
	@if $(MAKE) --no-print-directory deploy-tools; then $(DEPLOY)/python/bin/python tests/deploy/check.py --program target/debug/mscp-log; \
	else echo "reference-deploy was not checked, see above"; fi

# Real engines decide whether the embedded store is right. They run where the
# tests find a JDK; the newest two want JDK 21.
USUAL_ENGINES := elasticsearch-6.1.3,elasticsearch-7.17.29,elasticsearch-8.19.0,opensearch-2.19.1,kafka-4.1.1
export MSCP_LOG_ENGINES ?= $(CURDIR)/target/engines

ENGINES ?=
engines: java ## fetch the real engines of the tests from Maven Central (ENGINES=name,..; all)
	@tests/engines/fetch.sh "$(MSCP_LOG_ENGINES)" $(subst $(comma), ,$(filter-out all,$(ENGINES)))

comma := ,
java:
	@if ! command -v mvn >/dev/null || ! ls /usr/lib/jvm/*/bin/javac $${JAVA_HOME:+"$$JAVA_HOME/bin/javac"} >/dev/null 2>&1; then \
		if ! command -v apt-get >/dev/null; then echo "a JDK (17 or newer) and Maven are missing; install them with your system's packages" >&2; exit 1; \
		elif [ "$$(id -u)" = 0 ]; then apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq openjdk-17-jdk-headless maven; \
		else echo "missing packages; run: sudo apt-get install -y openjdk-17-jdk-headless maven" >&2; exit 1; fi; \
	fi

# The whole system's accounts are there; the tests of identity run once more on a server of their own.
postgres:
	@if ! ls /usr/lib/postgresql/*/bin/pg_ctl >/dev/null 2>&1 && ! command -v pg_ctl >/dev/null; then \
		if ! command -v apt-get >/dev/null; then echo "PostgreSQL is missing; install it with your system's packages" >&2; exit 1; \
		elif [ "$$(id -u)" = 0 ]; then apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq postgresql; \
		else echo "missing packages; run: sudo apt-get install -y postgresql" >&2; exit 1; fi; \
	fi

# Clients as their users have them, each in a folder of its own.
PYTHON_CLIENTS := elasticsearch-7 elasticsearch-8 elasticsearch-9 opensearch pylogbeat
clients: ## install the clients of Elasticsearch, OpenSearch and Logstash that the tests try
	@missing=""; python3 -c 'import ensurepip' 2>/dev/null || missing="$$missing python3-venv"; \
	command -v npm >/dev/null || missing="$$missing nodejs npm"; \
	command -v go >/dev/null || missing="$$missing golang-go"; \
	if [ -n "$$missing" ]; then \
		if ! command -v apt-get >/dev/null; then echo "missing:$$missing; install them with your system's packages" >&2; exit 1; \
		elif [ "$$(id -u)" = 0 ]; then apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $$missing; \
		else echo "missing packages; run: sudo apt-get install -y$$missing" >&2; exit 1; fi; \
	fi
	@for client in $(PYTHON_CLIENTS); do \
		wanted=tests/clients/python/$$client.txt; folder=target/clients/python/$$client; \
		if ! cmp -s $$wanted $$folder/.complete; then \
			rm -rf $$folder; mkdir -p target/clients/python; python3 -m venv $$folder; \
			$$folder/bin/pip install --quiet --disable-pip-version-check -r $$wanted; \
			cp $$wanted $$folder/.complete; \
		fi; \
	done
	@folder=target/clients/javascript; \
	if ! cmp -s tests/clients/javascript/package.json $$folder/.complete; then \
		rm -rf $$folder; mkdir -p $$folder; cp tests/clients/javascript/package.json $$folder/; \
		npm install --prefix $$folder --silent --no-audit --no-fund --no-package-lock; \
		cp tests/clients/javascript/package.json $$folder/.complete; \
	fi
	@mkdir -p target/clients/go; cd tests/clients/go && go build -buildvcs=false -o ../../../target/clients/go/ ./...
	@from=tests/clients/otlp/python; folder=target/clients/otlp/python; \
	if ! cmp -s $$from/requirements.txt $$folder/.complete; then \
		rm -rf $$folder; mkdir -p target/clients/otlp; python3 -m venv $$folder; \
		$$folder/bin/pip install --quiet --disable-pip-version-check -r $$from/requirements.txt; \
		cp $$from/requirements.txt $$folder/.complete; \
	fi
	@from=tests/clients/otlp/javascript; folder=target/clients/otlp/javascript; \
	if ! cmp -s $$from/package.json $$folder/.complete; then \
		rm -rf $$folder; mkdir -p $$folder; cp $$from/package.json $$folder/; \
		npm install --prefix $$folder --silent --no-audit --no-fund --no-package-lock --ignore-scripts; \
		cp $$from/package.json $$folder/.complete; \
	fi
	@folder=target/clients/otlp/go; mkdir -p $$folder; \
	if (cd tests/clients/otlp/go && GOTOOLCHAIN=local go build -buildvcs=false -o ../../../../$$folder/otlp .); then touch $$folder/.complete; \
	else rm -f $$folder/.complete; echo "OpenTelemetry's SDK for Go is left out: this Go does not build it"; fi

test-engines: setup ## the suites of store and buffer on every engine that this machine can run
	@$(MAKE) --no-print-directory engines ENGINES=all
	@$(MAKE) --no-print-directory clients
	$(CARGO) build --workspace --locked --bins --tests
	ENGINES=all $(CARGO) test --workspace --locked --test engines

# schemathesis, which tries the API by the document that it shows of itself.
OPENAPI := target/openapi
OPENAPI_SEED ?= 1
openapi-tools:
	@if ! python3 -c 'import ensurepip' 2>/dev/null; then \
		if ! command -v apt-get >/dev/null; then echo "missing: python3-venv; install it with your system's packages" >&2; exit 1; \
		elif [ "$$(id -u)" = 0 ]; then apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq python3-venv; \
		else echo "missing packages; run: sudo apt-get install -y python3-venv" >&2; exit 1; fi; \
	fi
	@if ! cmp -s tests/openapi/requirements.txt $(OPENAPI)/.complete; then \
		rm -rf $(OPENAPI); mkdir -p $(OPENAPI); python3 -m venv $(OPENAPI)/python; \
		$(OPENAPI)/python/bin/pip install --quiet --disable-pip-version-check -r tests/openapi/requirements.txt; \
		cp tests/openapi/requirements.txt $(OPENAPI)/.complete; \
	fi

test-openapi: setup openapi-tools ## the API against its own document, with and without a token (OPENAPI_SEED)
	$(CARGO) build --workspace --locked --bins
	$(OPENAPI)/python/bin/python tests/openapi/run.py --program target/debug/mscp-log --seed $(OPENAPI_SEED)

# What renders manifests, and the schemas of Kubernetes.
DEPLOY := target/deploy
KUSTOMIZE := sigs.k8s.io/kustomize/kustomize/v5@v5.5.0
export PATH := $(CURDIR)/$(DEPLOY)/bin:$(PATH)
deploy-tools:
	@missing=""; python3 -c 'import ensurepip' 2>/dev/null || missing="$$missing python3-venv"; \
	command -v openssl >/dev/null || missing="$$missing openssl"; \
	if ! command -v kubectl >/dev/null && ! command -v kustomize >/dev/null && ! command -v go >/dev/null; then missing="$$missing golang-go"; fi; \
	if [ -n "$$missing" ]; then \
		if ! command -v apt-get >/dev/null; then echo "missing:$$missing; install them with your system's packages" >&2; exit 1; \
		elif [ "$$(id -u)" = 0 ]; then apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $$missing; \
		else echo "missing packages; run: sudo apt-get install -y$$missing" >&2; exit 1; fi; \
	fi
	@mkdir -p $(DEPLOY)/bin
	@if ! command -v kubectl >/dev/null && ! command -v kustomize >/dev/null; then \
		GOBIN=$(CURDIR)/$(DEPLOY)/bin go install $(KUSTOMIZE) \
		|| { echo "neither kubectl nor kustomize is here, and this Go does not build kustomize; install one of them" >&2; exit 1; }; \
	fi
	@if ! command -v promtool >/dev/null && command -v apt-get >/dev/null; then \
		cd $(DEPLOY); apt-get download -qq prometheus 2>/dev/null && dpkg -x prometheus_*.deb unpacked && cp unpacked/usr/bin/promtool bin/ \
		|| echo "no promtool: the alerts are not tried"; rm -rf unpacked prometheus_*.deb; \
	fi
	@if ! cmp -s tests/deploy/requirements.txt $(DEPLOY)/.complete; then \
		rm -rf $(DEPLOY)/python; python3 -m venv $(DEPLOY)/python; \
		$(DEPLOY)/python/bin/pip install --quiet --disable-pip-version-check -r tests/deploy/requirements.txt; \
		cp tests/deploy/requirements.txt $(DEPLOY)/.complete; \
	fi

test-deploy: setup deploy-tools ## render every overlay of reference-deploy; schemas, policies, configurations
	$(CARGO) build --workspace --locked --bins --tests
	$(DEPLOY)/python/bin/python tests/deploy/check.py --program target/debug/mscp-log

test-deploy-apiserver: deploy-tools etcd ## have a real kube-apiserver judge every overlay (builds it once, some minutes)
	PYTHON=$(CURDIR)/$(DEPLOY)/python/bin/python tests/deploy/apiserver.sh target/apiserver

test-kubernetes: setup deploy-tools etcd ## what the server asks and changes on Kubernetes, on a real kube-apiserver
	$(CARGO) build --workspace --locked --bins --tests
	PYTHON=$(CURDIR)/$(DEPLOY)/python/bin/python tests/deploy/apiserver.sh target/apiserver \
		$(CARGO) test --workspace --locked --test kubernetes

etcd:
	@if ! command -v etcd >/dev/null; then \
		if [ "$$(id -u)" = 0 ]; then apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq etcd-server; \
		else echo "missing; run: sudo apt-get install -y etcd-server" >&2; exit 1; fi; \
	fi

# Each feature of the client by itself: in the workspace they are all on.
features: setup
	@for feature in "" push blocking async tracing log; do \
		echo "mscp-log-client with '$$feature' alone"; \
		RUSTFLAGS="-D warnings" $(CARGO) check --quiet -p mscp-log-client --no-default-features --features "$$feature" --locked --target-dir target/features; \
	done

# The core has no I/O, so it also runs in a browser.
wasm: setup
	@if command -v rustup >/dev/null; then \
		rustup target list --installed | grep -qx wasm32-unknown-unknown || rustup target add wasm32-unknown-unknown; \
		$(CARGO) check -p mscp-log-core --all-features --target wasm32-unknown-unknown --locked; \
	else echo "no rustup: the core is not checked for wasm32-unknown-unknown"; fi

check: setup ## the quick loop: format, lints, unit tests
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	$(CARGO) test --workspace --lib --locked

bench: setup ## measure the core beside its peers, and the running system
	$(CARGO) bench --locked -p mscp-log-core
	$(CARGO) build --release --locked -p mscp-log-server -p mscp-log-tests
	$(CARGO) run --release --locked -p mscp-log-tests --bin bench-system

bench-buffer: setup ## measure the disk buffer beside other crates
	$(CARGO) run --release --locked -p mscp-log-tests --features bench-buffer --bin bench-buffer

LINES ?=
CHART ?=
DAYS ?= 1
bench-store: setup ## measure the store beside Elasticsearch and OpenSearch (LINES=folder of logs, CHART=file, RECORDS, DAYS)
	@$(MAKE) --no-print-directory engines ENGINES=elasticsearch-7.17.29,elasticsearch-8.19.0,opensearch-2.19.1
	$(CARGO) build --release --locked -p mscp-log-server
	$(CARGO) run --release --locked -p mscp-log-tests --bin bench-store -- --records $(RECORDS) --days $(DAYS) $(if $(LINES),--lines $(LINES)) $(if $(CHART),--chart $(CHART))

bench-collect: setup clients journal-remote peers ## measure collecting beside rsyslog and syslog-ng; says which it found
	$(CARGO) build --release --locked -p mscp-log-server
	$(CARGO) run --release --locked -p mscp-log-tests --bin bench-collect

# Installed, each of them would remove the other; so they are unpacked only.
PEER_LIBRARIES := libestr0 libfastjson4 liblognorm5 libcap2 libglib2.0-0 libivykis0 libjson-c5 libnet1 libwrap0
peers: ## unpack rsyslog and syslog-ng for bench-collect (Debian)
	@if [ ! -x target/peers/usr/sbin/rsyslogd ] && command -v apt-get >/dev/null; then \
		if [ "$$(id -u)" = 0 ]; then apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(PEER_LIBRARIES); \
		else echo "peers may need: sudo apt-get install -y $(PEER_LIBRARIES)"; fi; \
		mkdir -p target/peers; cd target/peers; \
		apt-get download -qq rsyslog syslog-ng-core; \
		for package in *.deb; do dpkg -x $$package .; rm $$package; done; \
	fi

bench-ship: setup ## measure the CPU of shipping beside Elasticsearch's
	@$(MAKE) --no-print-directory engines ENGINES=elasticsearch-8.19.0
	$(CARGO) build --release --locked -p mscp-log-server
	$(CARGO) run --release --locked -p mscp-log-tests --bin bench-ship

bench-scale: setup ## measure each role on its own, with Kafka between, 1, 2 and 4 shippers (LINES=folder of logs)
	@$(MAKE) --no-print-directory engines ENGINES=elasticsearch-8.19.0,kafka-4.1.1
	$(CARGO) build --release --locked -p mscp-log-server --features kafka,postgres
	$(CARGO) run --release --locked -p mscp-log-tests --bin bench-scale -- $(if $(LINES),--lines $(LINES))

RECORDS ?= 1000000
KILLS ?= 20
SEED ?= 1
kill-test: setup ## push a million records while the node is killed (RECORDS, KILLS, SEED)
	$(CARGO) build --release --locked -p mscp-log-server
	$(CARGO) run --release --locked -p mscp-log-tests --bin kill-test -- --records $(RECORDS) --kills $(KILLS) --seed $(SEED)

LINES_WRITTEN ?= 300000
FAULTS ?= 30
ledger-test: setup clients journal-remote ## collect and send 300,000 lines while agent, node and links are killed and cut (LINES_WRITTEN, FAULTS, SEED)
	$(CARGO) build --release --locked -p mscp-log-server
	$(CARGO) run --release --locked -p mscp-log-tests --bin ledger-test -- --lines $(LINES_WRITTEN) --faults $(FAULTS) --seed $(SEED)

ROUNDS ?= 3
AWAY ?= 30
system-test: setup postgres ## two processes of each role, Kafka, Elasticsearch, PostgreSQL; all are killed and stopped in turn (ROUNDS, AWAY, SEED)
	@$(MAKE) --no-print-directory engines ENGINES=elasticsearch-8.19.0,kafka-4.1.1
	$(CARGO) build --release --locked -p mscp-log-server --features kafka,postgres
	$(CARGO) run --release --locked -p mscp-log-tests --bin system-test -- --rounds $(ROUNDS) --away $(AWAY) --seed $(SEED)

# Makes real journal files of what it is given; without it tests leave the journal out.
journal-remote:
	@if [ ! -x /lib/systemd/systemd-journal-remote ] && command -v apt-get >/dev/null; then \
		if [ "$$(id -u)" = 0 ]; then apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends systemd systemd-journal-remote; \
		else echo "tests leave the journal out; to have it: sudo apt-get install -y systemd-journal-remote"; fi; \
	fi

SECONDS_EACH ?= 60
fuzz: setup ## run every fuzz target for a while (needs a nightly toolchain; SECONDS_EACH)
	@command -v cargo-fuzz >/dev/null || $(CARGO) install cargo-fuzz --locked
	for target in $$(cd fuzz && $(CARGO) +nightly fuzz list); do \
		$(CARGO) +nightly fuzz run $$target -- -max_total_time=$(SECONDS_EACH) -rss_limit_mb=2048; \
	done

deny: setup ## licences, sources, bans and, where their database can be reached, advisories
	@command -v cargo-deny >/dev/null || $(CARGO) install cargo-deny --locked
	cargo-deny --all-features check bans licenses sources
	cargo-deny --all-features check advisories || echo "advisories: not checked or not clean, see above"

docs: setup ## the API documentation of the library crates
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --no-deps -p mscp-log-core -p mscp-log-client --all-features

clean: ## remove what was built
	$(CARGO) clean
