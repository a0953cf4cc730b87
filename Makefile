# Two commands on a fresh machine: `make demo` and `make test`. Both set up what they need.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

export FLWR_TELEMETRY_ENABLED := 0
export FLWR_DISABLE_UPDATE_CHECK := 1

# Keys and certificates of the containers lie outside the checkout, which containers see.
export WARDROUND_SECRETS ?= $(HOME)/.wardround/secrets
COMPOSE := docker compose --project-name wardround --file docker/compose.yaml
SITES := north south west
STUDY ?=
BY ?=
APPROVE ?=

.PHONY: demo test faults check setup clean sites-up sites-approve sites-run sites-down

demo: $(STAMP)  ## train four simulated hospitals with differential privacy and name the report
	$(BIN)/wardround run --output runs

test: $(STAMP)  ## run the tests
	$(BIN)/python -m pytest -n 2 --dist loadgroup

faults: $(STAMP)  ## refusals, faults and secrets over a consortium's processes; needs nginx, PostgreSQL and, for networks, root
	WARDROUND_FAULTS=1 $(BIN)/python -m pytest tests/consortium

check: $(STAMP)  ## style, types and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

sites-up: $(STAMP)  ## build and start a coordinator and three hospitals as containers
	$(BIN)/wardround sites certify $(WARDROUND_SECRETS) $(SITES:%=--hospital %)
	$(COMPOSE) up --build --detach --wait

sites-approve:  ## show what changed and let it run at each hospital: make sites-approve BY='A. Name' [APPROVE='--diff']
	@test -n "$(BY)" || { echo "make: name who approves: make sites-approve BY='A. Name'" >&2; exit 2; }
	for site in $(SITES); do $(COMPOSE) run --rm $$site-approve --by "$(BY)" $(APPROVE) || exit $$?; done

sites-run:  ## run a study in them: make sites-run STUDY='--set federation.rounds=3'
	$(COMPOSE) run --rm study $(STUDY)

sites-down:  ## stop them; volumes with ledgers, databases and runs stay
	$(COMPOSE) down

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "make: $(PYTHON) not found: install Python 3.11, or name another with make PYTHON=..." >&2; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,synth]'
	touch $(STAMP)

clean:
	rm -rf $(VENV) runs .mypy_cache .ruff_cache .pytest_cache .hypothesis
