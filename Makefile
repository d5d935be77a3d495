# Everything that a developer or a first user does. `make help` lists it.
PORT ?= 8000
DATA ?= var
PYTHON ?= python3
JOBS ?= 2
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip --disable-pip-version-check install --quiet --constraint constraints.txt
TORCH := 2.13.0

.DEFAULT_GOAL := help
.PHONY: help run demo test fuzz hostile soak claims check bench format browser clean

help:  ## list these targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12
	@echo "Variables: PORT=8000, DATA=var (folder of everything it writes), PYTHON=python3 (3.11 or newer), JOBS=2 (tests at once)"

run: $(VENV)/.run  ## start the service and one worker on 127.0.0.1:$(PORT)
	@exec $(BIN)/python -m app.supervisor --port $(PORT) --data $(DATA)

demo: $(VENV)/.run  ## as run, and start one healthy and one sick training
	@exec $(BIN)/python -m app.supervisor --port $(PORT) --data $(DATA) --demo

test: check browser  ## everything that CI runs
	$(BIN)/python -m pytest --numprocesses=$(JOBS) --dist=worksteal --durations=20

fuzz: COUNT ?= 5000
fuzz: $(VENV)/.dev  ## many random specs over the whole space, each trained and resumed (COUNT=5000)
	GYROSTAT_FUZZ=$(COUNT) $(BIN)/python -m pytest --numprocesses=$(JOBS) --dist=worksteal -q tests/combinations

hostile: $(VENV)/.dev  ## 10 000 mutated bodies, and many requests made up from the API's description, against a real backend
	GYROSTAT_HOSTILE=10000 GYROSTAT_MADE_UP=100 $(BIN)/python -m pytest -q --timeout=3600 tests/app/api/test_hostile_bodies.py tests/app/api/test_made_up_requests.py

soak: COUNT ?= 1000
soak: $(VENV)/.dev  ## schedules of faults (kills, cuts, full disks, bad networks), and where every frame of them is (COUNT=1000)
	$(BIN)/python -m tests.faults --count $(COUNT) --jobs $(JOBS)

claims: $(VENV)/.dev  ## one study for each claim of the toolkit, through the service; writes docs/claims.md (under 40 minutes on 2 cores)
	$(BIN)/python -m benchmarks.claims

check: $(VENV)/.dev  ## format, lint, types, import rules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/yamllint --strict docker-compose.yml

bench: $(VENV)/.dev  ## small forms of the benchmarks, side by side with what they compare to
	$(BIN)/python -m benchmarks

format: $(VENV)/.dev  ## format and mend what can be mended
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:  ## remove the environment and caches, not your data
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis

# torch comes first and alone, so that nothing else chooses its build. Without a GPU the CPU build is asked for, where the package index
# offers it; else the plain one, which on Linux brings CUDA with it.
$(VENV)/.torch: constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Gyrostat needs Python 3.11 or newer; make run PYTHON=python3.12 chooses one"; exit 1; }
	@echo "Making the environment in $(VENV) (a few minutes, once)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@if command -v nvidia-smi >/dev/null 2>&1 || [ "$$(uname -s)" != Linux ]; then $(PIP) torch==$(TORCH); \
	 else $(PIP) torch==$(TORCH)+cpu 2>/dev/null || $(PIP) torch==$(TORCH); fi
	@touch $@

$(VENV)/.run: pyproject.toml constraints.txt $(VENV)/.torch
	@$(PIP) --editable '.[backend,worker]'
	@touch $@

$(VENV)/.dev: $(VENV)/.run
	@$(PIP) --editable '.[backend,worker,data-frames,dev]'
	@touch $@

# A real browser for the tests: found, or installed where that is allowed without asking.
browser:
	@if ! command -v chromium >/dev/null && ! command -v chromium-browser >/dev/null && ! command -v google-chrome >/dev/null \
	    && [ ! -d "/Applications/Google Chrome.app" ] && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium; fi
