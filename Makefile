# Spectral Lens: `make` alone lists what there is. Every target sets up .venv by itself, and only when
# pyproject.toml or constraints.txt changed.

PYTHON ?= python3
PROFILE ?= quick
ENGINE ?= local
PORT ?= 8000
BENCHMARK ?= training

BIN := .venv/bin
READY := .venv/.ready
LENS := $(BIN)/spectral-lens
SITE := build/site/$(PROFILE)/_build/html

.DEFAULT_GOAL := help
.PHONY: help setup book test run records references check-records bench mutants lint serve clean distclean

help: ## List the targets
	@echo "make TARGET, where TARGET is one of"
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo "PROFILE is quick (the default) or paper; PYTHON names the interpreter that .venv is made with."

setup: $(READY) ## Make or refresh .venv, and nothing else

book: $(READY) ## Run what is stale and build the site; PROFILE=paper for the recorded full-size results
	$(LENS) build --profile $(PROFILE) --strict

test: lint ## Lint, run every quick chapter once against its reference, build their site, run all tests
	$(BIN)/python -m pytest -n 2 --dist loadscope --cov --nbval --nbval-current-env \
		--nbval-sanitize-with tests/reference/sanitize.cfg tests

run: $(READY) ## Run one chapter: CHAPTER=relevance/mnist ARGS='-p "digits=[3,8]"'
	@test -n "$(CHAPTER)" || { echo "Which chapter? make run CHAPTER=relevance/mnist ('$(LENS) list' names them all)" >&2; exit 2; }
	$(LENS) run $(CHAPTER) --profile $(PROFILE) $(ARGS)

# A cluster's plugin is installed where that cluster is asked for: some break Snakemake elsewhere.
records: $(READY) $(addprefix .venv/.,$(filter slurm kubernetes,$(ENGINE))) ## Make all records that are not current: PROFILE=paper ENGINE=local, slurm or kubernetes, JOBS=8
	$(LENS) records --profile $(PROFILE) --engine $(ENGINE) $(if $(JOBS),--jobs $(JOBS)) $(ARGS)

references: $(READY) ## Run the quick chapters that changed, and keep what they print for the tests
	$(LENS) run --older --profile quick
	$(LENS) references

check-records: $(READY) ## Say how the paper records stand to their chapters, and which functions changed since
	$(LENS) check --profile paper

bench: $(READY) ## Measure the speed: BENCHMARK=training, telescope, explanations, relevance, stability or recording
	$(BIN)/python benchmarks/$(BENCHMARK).py $(ARGS)

mutants: $(READY) .venv/.mutants ## Plant errors in MODULE=nn.layers or a room (nn); SAMPLE=60 SEED=0 for a part of them
	@test -n "$(MODULE)" || { echo "Which module? make mutants MODULE=nn.layers, or a whole room: MODULE=nn" >&2; exit 2; }
	$(BIN)/python tests/mutants.py $(MODULE) $(if $(SAMPLE),--sample $(SAMPLE)) $(if $(SEED),--seed $(SEED))

lint: $(READY) ## Check style, formatting and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

serve: $(READY) ## Show the built site on 127.0.0.1; PORT=8000, PROFILE as for book
	@test -f $(SITE)/index.html || { echo "There is no site of this profile yet: make book PROFILE=$(PROFILE)" >&2; exit 2; }
	$(BIN)/python -m http.server $(PORT) --bind 127.0.0.1 --directory $(SITE)

clean: ## Remove the sites and the quick records; your own runs and sweeps stay
	rm -rf build/records/quick dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	if [ -d build ]; then find build -mindepth 1 -maxdepth 1 ! -name records ! -name sweeps -exec rm -rf {} +; fi

distclean: clean ## Remove .venv and everything in build too
	rm -rf build .venv

# What only `mutants` needs.
.venv/.mutants: $(READY)
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e ".[mutants]"
	@touch $@

# What only one kind of cluster needs.
.venv/.slurm .venv/.kubernetes: .venv/.%: $(READY)
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e ".[$*]"
	@touch $@

# .ready is written last, and .unfinished stands from the first step to the last: a set-up that was interrupted begins
# from nothing, one that was complete takes the change in place.
$(READY): pyproject.toml constraints.txt
	@if [ -e .venv/.unfinished ] || ! $(BIN)/python -m pip --version >/dev/null 2>&1; then \
		$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null || { \
			echo "$(PYTHON) is $$($(PYTHON) --version 2>/dev/null || echo "not there"), but Spectral Lens needs Python 3.11, 3.12 or 3.13." >&2; \
			echo "Name one: make $(or $(MAKECMDGOALS),setup) PYTHON=python3.12" >&2; exit 2; }; \
		echo "Setting up .venv: some minutes, 2 to 8 GB depending on the build of torch."; \
		rm -rf .venv && mkdir .venv && touch .venv/.unfinished && $(PYTHON) -m venv .venv || { \
			echo "No virtual environment could be made with $(PYTHON); some systems keep that in a package python3-venv." >&2; exit 2; }; \
	fi
	@rm -f $@ && touch .venv/.unfinished
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e ".[book,data,engine,explain,figures,selector,test,peers,dev]"
	@rm -f .venv/.unfinished && touch $@
