# Everything is installed into .venv of this checkout; nothing is global. `make help` lists what there is.
PYTHON ?= python3.11
BIN := .venv/bin
export SCAN
# Dozens of processes import the same modules: compiled once, that takes a third of the time.
unexport PYTHONDONTWRITEBYTECODE
INSTALLED := .venv/.installed
LOCK := $(BIN)/uv pip compile --quiet --generate-hashes --no-emit-index-url --no-annotate --no-header
NEEDS := 'import sys, tomllib; extras = tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]; print(*(need for name in sys.argv[1:] for need in extras[name]), sep="\n")'

# What our programs are measured against, in an environment of its own: it does not agree with what the platform needs.
PEERS := algotom dask-image ducc0 ngff-zarr scikit-image

# Of two modules only the functions that decide.
GUARDS := 'beamlines.*' 'resources.*' 'als_assets.retention.proving.*' 'als_assets.retention.planning.x_decide_scan*' \
	'als_assets.retention.planning.x__counts*' 'als_assets.retention.planning.x__facts*' \
	'als_assets.retention.passes.*_last_word*' 'als_assets.retention.passes.*_recorded_anew*' \
	'als_assets.retention.passes.*_failed_checks*'
SCORE := 'import json; found = json.load(open("mutants/mutmut-cicd-stats.json")); noticed = found["killed"] + found["timeout"]; \
	tried = noticed + found["survived"] + found["no_tests"]; print(f"{noticed} of {tried} mutants noticed: {noticed / tried:.1%}")'

.PHONY: help install demo up scan test integration check bench accuracy faults mutants lock screenshots clean
.DEFAULT_GOAL := help

help:                 ## This list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/make \1\t\2/' | expand -t 20

install: $(INSTALLED) ## Install what is locked into .venv

$(INSTALLED): requirements.lock pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv || python3 -m venv .venv
	@$(BIN)/python -c 'import sys; sys.exit(sys.version_info[:2] < (3, 11))' || { echo 'Python 3.11 or newer is needed'; exit 1; }
	@test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip sync --quiet --compile-bytecode --python $(BIN)/python --require-hashes requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

demo: $(INSTALLED)    ## One scan, all the way, shown in the terminal; SCAN=some.h5 takes a real one
	@$(BIN)/als demo $${SCAN:+--scan "$$SCAN"}

up: $(INSTALLED)      ## Keep the twin and Dagster's UI running until Ctrl-C
	@$(BIN)/als up || test $$? -eq 130

scan: $(INSTALLED)    ## Let one more scan arrive (while `make up` runs); SCAN=some.h5 takes a real one
	@$(BIN)/als measure $${SCAN:+--scan "$$SCAN"}

test: $(INSTALLED)    ## All tests
	$(BIN)/python -m pytest -n 2 --durations 20

integration: $(INSTALLED) ## Against real Slurm, which is installed (Debian, as root) and started here; WITH=slurmrestd: its REST server too; WITH=compute: Globus Compute's endpoint
	$(BIN)/python -m pytest -m integration tests/integration/test_slurm.py $(WITH:%=tests/integration/test_%.py)

check: $(INSTALLED)   ## Lint, format, types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy accuracy als als_assets beamlines benchmarks campaign peers resources sensors tomography twin

bench: $(INSTALLED)   ## Figures, each beside a peer or a limit measured in the same run
	$(BIN)/python -m benchmarks

accuracy: $(INSTALLED) ## Slices and pyramids beside phantoms and other programs, with pictures; the report is var/accuracy.md
	$(BIN)/python -m accuracy

faults: $(INSTALLED)  ## Let everything go wrong: CASES=300 cases, SEED=1, and 10,000 steps of retention; the report is var/faults.md
	$(BIN)/python -m campaign --cases $(or $(CASES),300) --seed $(or $(SEED),1) --parts
	ALS_STEPS=10000 $(BIN)/python -m pytest -q tests/als_assets/retention/test_never_loses.py

mutants: $(INSTALLED)   ## Change each guard of deletion once: does a test fail? Score and survivors; half an hour
	@rm -rf mutants
	$(BIN)/mutmut run --max-children 2 $(GUARDS)
	@$(BIN)/mutmut results
	@$(BIN)/mutmut export-cicd-stats >/dev/null
	@$(BIN)/python -c $(SCORE)

lock:                 ## Resolve the locks anew
	$(LOCK) --extra dev pyproject.toml -o requirements.lock
	$(BIN)/python -c $(NEEDS) tomography | $(LOCK) --constraint requirements.lock - -o requirements-tomography.lock
	{ $(BIN)/python -c $(NEEDS) tomography; printf '%s\n' $(PEERS); } | $(LOCK) --constraint requirements-tomography.lock - -o requirements-peers.lock
	$(BIN)/python -c $(NEEDS) tomography gpu | $(LOCK) --constraint requirements-tomography.lock - -o requirements-gpu.lock
	{ echo globus-compute-endpoint; grep -oE '^globus-compute-[a-z]+==[^ ]+' requirements.lock; } | $(LOCK) - -o requirements-endpoint.lock

screenshots: $(INSTALLED) ## Take the pictures of the README from a running `make up` (needs chromium)
	$(BIN)/python docs/screenshots.py

clean:                ## Remove everything that was installed or written here
	rm -rf .venv var dist
