# make test    installs what it needs into .venv, then lint, types and every test
# make demo    the same set-up, then the main job on the bundled demo world
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
WORKSPACE ?= workspace

.PHONY: test demo demo-weights lint lock

$(VENV)/.installed: setup.cfg constraints.txt requirements-openmmlab.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v < (3, 14) else f"vdv needs Python 3.11, 3.12 or 3.13; {sys.executable} is {v[0]}.{v[1]}. Try: make PYTHON=python3.12 ...")'
	@echo "Installing into $(VENV): torch with its CUDA libraries and the rest, about 5 GB. This takes minutes, once."
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -r requirements-openmmlab.txt
	touch $@

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(PYTEST_ARGS)

demo: $(VENV)/.installed
	$(BIN)/luigi --module tasks BuildVDV --workspace '$(WORKSPACE)'

# Trains the networks of the profile demo that are not finished: two hours on two cores, minutes on a GPU. TRAIN_ARGS:
# see `python -m simulation.training.train_networks --help`; with --again it trains what is finished, too.
demo-weights: $(VENV)/.installed
	$(BIN)/python -m simulation.training.train_networks $(TRAIN_ARGS)

# Writes constraints.txt anew from what .venv holds, after an upgrade that passes `make test`.
lock: $(VENV)/.installed
	$(BIN)/python -m pip freeze --exclude-editable | grep -v -E '^(mmpose|mmdet|mmcv-lite|mmengine)==' > constraints.txt
