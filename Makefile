# Everything a fresh clone needs: Python 3.11 or newer, git and make. `make` alone runs the tests.
#   make demo [BAD=KIND]  one real workload crosses; with BAD=errors, slow, empty, one-tenant or
#                       killed the candidate goes bad and all traffic goes back by itself; BAD=1 is
#                       errors (what was measured stands in demo.json)
#   make test | lint    linters and tests | linters only
#   make up | down      start | stop the embedded stack
#   make docs           write docs/reference/ again, from the code
#   make lock           resolve the locked requirements again (needs uv)

SHELL  := /bin/sh
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
UV     := $(shell command -v uv 2>/dev/null)

# The lock files hold every dependency with its hashes, so nothing is resolved here. setuptools is
# locked as well, which lets the project itself be installed without an isolated, unlocked build.
ifeq ($(UV),)
MAKE_VENV = $(PYTHON) -m venv $(VENV)
PIP       = { $(BIN)/python -m pip --version || $(BIN)/python -m ensurepip; } >/dev/null 2>&1 ; \
            $(BIN)/python -m pip --disable-pip-version-check install --quiet --no-compile
# pip compiles on one core alone; some packages hold files that are no Python of today
BYTECODE = $(BIN)/python -m compileall -q -j 0 $(VENV)/lib >/dev/null 2>&1 || :
else
MAKE_VENV = $(UV) venv --quiet --allow-existing --python $(PYTHON) $(VENV)
PIP       = $(UV) pip install --quiet --compile-bytecode --python $(BIN)/python
BYTECODE = :
endif

.DEFAULT_GOAL := test
.PHONY: demo test lint docs up down lock

demo: $(VENV)/run.stamp
	@$(BIN)/qafila demo --json demo.json $(if $(BAD),--bad-candidate $(if $(filter 1,$(BAD)),errors,$(BAD)))

# Four parts, one after the other. No test runs twice.
# What judges no time shares the machine, one worker more than there are cores, since a third of it
# is waiting for servers; files that take long are begun first, the quick ones fill the end.
# What mostly waits, for traffic until a proof or for a lease to lapse, goes three files at a time: it
# uses a quarter of a core, and its bounds are far from what two others of its kind cost. Those that
# take long are begun first, what judges latency not beside the set-up of another.
# What judges time by the clock is marked `timing` and has the machine to itself; so do the last
# three files, which are one story on one stack.
REPORT  := -r fE
WORKERS ?= $(shell $(BIN)/python -c 'import os; print(min(6, (os.cpu_count() or 1) + 1))')
ROLLOUT := $(addprefix tests/integration/rollout/test_,canary.py rollout_bundle.py canary_cloud.py)
ROLLBACK := $(addprefix tests/integration/rollback/test_rollback,.py _live_sync.py \
  _without_ledger.py _column.py)
TRIALS  := $(addprefix tests/integration/rollout/test_,drill.py rollout_flows.py bad_candidates.py)
WAITING := $(addprefix tests/acceptance/test_,chaos.py inference_rollout.py) $(ROLLOUT) $(ROLLBACK) \
  $(TRIALS) $(addprefix tests/integration/,backfill/test_engine.py stores/test_column_layout.py)
ALONE   := $(addprefix tests/acceptance/test_,crossing.py bad_candidates.py down.py)
SHARED  := tests/acceptance tests/integration tests/contract tests/unit \
  $(addprefix --ignore=,$(WAITING) $(ALONE))

CHECKS  := $(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && $(BIN)/lint-imports

# Each worker imports all tests, and what they start reads our code once more, so bytecode is kept,
# whatever the caller's environment says; pytest's own of the tests is made while lint has one core.
test: export PYTHONDONTWRITEBYTECODE :=
test: $(VENV)/dev.stamp
	@$(BIN)/python -m pytest --collect-only -qq tests >/dev/null 2>&1 & \
	$(CHECKS); linted=$$?; wait; exit $$linted
	@$(BIN)/python -m pytest $(REPORT) -m "not timing" -n $(WORKERS) --dist loadfile \
	  --no-loadscope-reorder $(SHARED)
	@$(BIN)/python -m pytest $(REPORT) -m "not timing" -n 3 --dist loadfile \
	  --no-loadscope-reorder $(WAITING)
	@$(BIN)/python -m pytest $(REPORT) -m timing tests
	@$(BIN)/python -m pytest $(REPORT) $(ALONE)

lint: $(VENV)/dev.stamp
	@$(CHECKS)

docs: $(VENV)/dev.stamp
	@$(BIN)/python -m docs.generate_reference

up down: $(VENV)/run.stamp
	@$(BIN)/qafila $@

$(VENV)/run.stamp: requirements.txt pyproject.toml | $(BIN)/python
	$(call install,requirements.txt)
	@touch $@

# The development lock contains the other one, so both are in place after it.
$(VENV)/dev.stamp: requirements-dev.txt pyproject.toml | $(BIN)/python
	$(call install,requirements-dev.txt)
	@touch $(VENV)/run.stamp $@

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo 'Qafila needs Python 3.11 or newer; "$(PYTHON)" is' \
	    "$$($(PYTHON) --version 2>/dev/null || echo not there). Next: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)" >&2; \
	  exit 2; }
	@$(MAKE_VENV)

define install
	@echo '  set-up    installing $(1) into $(VENV) ...'
	@begun=$$(date +%s); \
	$(PIP) --no-deps --require-hashes -r $(1) && \
	$(PIP) --no-deps --no-build-isolation --editable . && \
	{ $(BYTECODE); } && \
	echo "  set-up    $$($(BIN)/python --version) · $$(grep -c '^[A-Za-z0-9].*==' $(1)) packages from $(1)" \
	  "· $$(( $$(date +%s) - begun )) s"
endef

COMPILE = printf 'setuptools>=77\n' | uv pip compile --quiet --universal --python-version 3.11 \
	--generate-hashes --no-header --no-emit-index-url --no-emit-find-links pyproject.toml -

lock:
	@command -v uv >/dev/null || { echo 'make lock needs uv: https://docs.astral.sh/uv/' >&2; exit 2; }
	$(COMPILE) --output-file requirements.txt
	$(COMPILE) --extra dev --constraint requirements.txt --output-file requirements-dev.txt
