# `make help` lists the commands.
PYTHON ?= python3
PY := .venv/bin/python

.DEFAULT_GOAL := help
.PHONY: help setup setup-tests local local-down local-shell shell test unit ops-tests e2e faults boot lint arch bench bench-boot

# Keeps the output of parallel targets apart; needs make 4.0.
SYNC := $(if $(filter output-sync,$(.FEATURES)),--output-sync=target)

# The end-to-end tests of deploys that go wrong: half of the time of all of them.
FAULTS := tests/e2e/test_faults.py tests/e2e/test_local.py tests/e2e/test_expired.py tests/e2e/test_proxy.py \
	tests/e2e/test_adopt.py

# The parts of make test, longest first.
PARTS := e2e faults ops-tests boot unit lint

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

local: setup  ## deploy everything on the embedded AWS, without an account
	@$(PY) -m tools.local up

local-shell: setup  ## open a shell for the embedded AWS
	@$(PY) -m tools.shell --local

local-down:  ## destroy everything on the embedded AWS and stop it
	@test -x $(PY) || { echo "not set up yet: run make local" >&2; exit 1; }
	@$(PY) -m tools.local down

shell: setup  ## open a shell for your AWS account
	@$(PY) -m tools.shell

test: setup-tests  ## run every test: lint, unit, ops-tests, e2e, faults, boot
	@$(PY) -m tools.system_packages
	@echo "Running five at a time; each prints its output when it ends, the longest after 20 minutes:" $(PARTS)
	@$(MAKE) --no-print-directory -j5 $(SYNC) WHICH="-m system" E2E="$(addprefix --ignore=,$(FAULTS))" $(PARTS)

lint: setup-tests  ## check style and types
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(PY) -m mypy

unit: setup-tests  ## run the fast tests: synthesis, settings, ops
	@$(PY) -m tools.shell -- $(PY) -m pytest -m "not system" tests/unit tests/tools tests/embedded_aws tests/ops

# Under make test, skips what make unit runs, and adds the slow tests of tests/unit and tests/tools.
ops-tests: setup-tests  ## test ops with real sshd, rsync, Terraform (Linux, root)
	@$(PY) -m tools.system_packages
	@$(PY) -m tools.shell -- $(PY) -m pytest $(WHICH) tests/ops $(if $(WHICH),tests/unit tests/tools)

e2e: setup-tests  ## test cdktf with real Terraform and the embedded AWS
	@$(PY) -m tools.shell -- $(PY) -m pytest $(E2E) tests/e2e

# Under make test, runs beside the rest of e2e.
faults: setup-tests  ## test recovery: kill -9, lost connections (FAULT_ROUNDS=5)
	@$(PY) -m tools.shell -- $(PY) -m pytest $(FAULTS)

# Builds the Debian image first, which takes ten minutes. The tests skip what this machine cannot do, with the reason.
boot: setup-tests  ## test the boot scripts with real systemd (Linux, root)
	@$(PY) -m tools.system_packages
	@test "$$(id -u)" != 0 || $(PY) -m tools.boot_base >/dev/null || true
	@$(PY) -m tools.shell -- $(PY) -m pytest tests/boot

bench: setup-tests  ## measure speed and memory, as ratios
	@$(PY) -m tools.shell -- $(PY) -m benchmarks.synthesis

bench-boot: setup-tests  ## measure the boot time of each machine (Linux, root)
	@$(PY) -m tools.shell -- $(PY) -m benchmarks.boot

.PHONY: pages
pages: setup  ## write docs/settings.md and docs/permissions.md
	@$(PY) -m tools.settings_page
	@$(PY) -m tools.permissions_page

.PHONY: pictures
pictures: setup  ## draw what make local and ops show, on the embedded AWS
	@$(PY) -m tools.pictures

arch: setup  ## draw images/arch.png from the synthesized stacks
	@$(PY) -m tools.draw

setup:  ## install the locked Python packages, Node and cdktf CLI
	@$(PYTHON) tools/set_up.py

setup-tests:
	@$(PYTHON) tools/set_up.py --tests
