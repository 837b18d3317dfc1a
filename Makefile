# `make help` lists the commands.
PYTHON ?= python3
PY := .venv/bin/python

.DEFAULT_GOAL := help
.PHONY: help setup setup-tests local local-down local-shell shell test unit ops-tests e2e faults boot lint arch bench bench-boot

# Several at once would be unreadable if they wrote as they go; makes older than 4.0 cannot help it.
SYNC := $(if $(filter output-sync,$(.FEATURES)),--output-sync=target)

# What e2e tests of deploys that go wrong; half of the time of all.
FAULTS := tests/e2e/test_faults.py tests/e2e/test_local.py tests/e2e/test_expired.py tests/e2e/test_proxy.py

# What make test runs; those that take longest begin first.
PARTS := e2e faults ops-tests boot unit lint

help:  ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

local: setup  ## the whole infrastructure on the embedded AWS: real Terraform, no account
	@$(PY) -m tools.local up

local-shell: setup  ## a shell whose cdktf commands talk to the embedded AWS
	@$(PY) -m tools.shell --local

local-down:  ## destroy everything on the embedded AWS and stop it
	@test -x $(PY) || { echo "nothing is set up here: make local" >&2; exit 1; }
	@$(PY) -m tools.local down

shell: setup  ## a shell whose cdktf commands talk to your AWS account
	@$(PY) -m tools.shell

test: setup-tests  ## every test: style and types, unit, ops, end to end with real Terraform, boots
	@$(PY) -m tools.system_packages
	@echo "All at once; each shows what it said at its end, the longest after 20 minutes:" $(PARTS)
	@$(MAKE) --no-print-directory -j6 $(SYNC) WHICH="-m system" E2E="$(addprefix --ignore=,$(FAULTS))" $(PARTS)

lint: setup-tests  ## style and types
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(PY) -m mypy

unit: setup-tests  ## synthesis, settings, validation by Terraform, and of ops what needs nothing of the system
	@$(PY) -m tools.shell -- $(PY) -m pytest -m "not system" tests/unit tests/tools tests/embedded_aws tests/ops

# make test leaves out what make unit runs, and adds what takes longer there.
ops-tests: setup-tests  ## the commands of ops: real sshd, rsync and Terraform (Linux, as root)
	@$(PY) -m tools.system_packages
	@$(PY) -m tools.shell -- $(PY) -m pytest $(WHICH) tests/ops $(if $(WHICH),tests/unit tests/tools)

e2e: setup-tests  ## the cdktf commands, real Terraform and the embedded AWS
	@$(PY) -m tools.shell -- $(PY) -m pytest $(E2E) tests/e2e

# make test runs it beside the rest of e2e.
faults: setup-tests  ## of e2e, what a run survives: kill -9, broken connections, refusals, throttling (FAULT_ROUNDS=5)
	@$(PY) -m tools.shell -- $(PY) -m pytest $(FAULTS)

# Their Debian is made before: no test has ten minutes for that. What cannot be done here, the tests say.
boot: setup-tests  ## the boot scripts, run by a real systemd on loop devices (Linux, as root)
	@$(PY) -m tools.system_packages
	@test "$$(id -u)" != 0 || $(PY) -m tools.boot_base >/dev/null || true
	@$(PY) -m tools.shell -- $(PY) -m pytest tests/boot

bench: setup-tests  ## speed and memory, as ratios
	@$(PY) -m tools.shell -- $(PY) -m benchmarks.synthesis

bench-boot: setup-tests  ## seconds to ready of every machine (Linux, as root)
	@$(PY) -m tools.shell -- $(PY) -m benchmarks.boot

.PHONY: pages
pages: setup  ## write docs/settings.md from settings.toml
	@$(PY) -m tools.settings_page

arch: setup  ## draw images/arch.png from the synthesized stacks
	@$(PY) -m tools.draw

setup:  ## Python packages, Node and the cdktf CLI, from the lock files into this folder
	@$(PYTHON) tools/set_up.py

setup-tests:
	@$(PYTHON) tools/set_up.py --tests
