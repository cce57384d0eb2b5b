# make test    installs what it needs into .venv, then lint, types and every test
# make check   lint, types, and the unit tests of what is not committed yet; of a branch: make check SINCE=main
# make demo    the same set-up, then the main job on the bundled demo world
# make TORCH=cpu demo    the same with a torch that has no CUDA libraries (docs/installation.md); likewise for the others
PYTHON ?= python3
VENV ?= .venv
TORCH ?= $(patsubst $(VENV)/.installed-%,%,$(wildcard $(VENV)/.installed-*))
TORCH_INDEX ?= https://download.pytorch.org/whl/$(TORCH)
BIN := $(VENV)/bin
WORKSPACE ?= workspace
SINCE ?= HEAD
INSTALLED := $(VENV)/.installed$(TORCH:%=-%)
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
# Two processes more than there are cores, for some tests wait; each has whole files. To debug one: make test PYTEST_ARGS='-n 0 tests/...'
PROCESSES := $(shell cores=$$(nproc); echo $$((cores < 4 ? cores + 2 : 6)))
# Bytecode is kept though the machine may be set not to: hundreds of processes would compile the same sources.
PYTEST := PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(PROCESSES) --dist loadfile --no-loadscope-reorder

.PHONY: test run-tests check demo demo-weights lint lock

$(INSTALLED): setup.cfg constraints.txt requirements-openmmlab.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v < (3, 14) else f"vdv needs Python 3.11, 3.12 or 3.13; {sys.executable} is {v[0]}.{v[1]}. Try: make PYTHON=python3.12 ...")'
	@echo "Installing into $(VENV): $(if $(TORCH),torch for $(TORCH),torch with its CUDA libraries) and the rest, about $(if $(TORCH),3,8) GB. This takes minutes, once."
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(if $(TORCH),$(PIP) --no-deps -c constraints.txt --index-url $(TORCH_INDEX) torch torchvision)
	$(PIP) -c constraints.txt -e '.[dev]'
	$(PIP) --no-deps -r requirements-openmmlab.txt
	touch $@

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/hadolint Dockerfile

# Side by side: mypy takes a minute of one core.
test: $(INSTALLED)
	$(MAKE) --no-print-directory -j 2 lint run-tests

run-tests: $(INSTALLED)
	$(PYTEST) $(PYTEST_ARGS)

# The unit tests of x/y.py are tests/x/test_y*.py.
CHANGED = $(filter %.py,$(shell git diff --name-only --diff-filter=d $(SINCE); git ls-files --others --exclude-standard))
UNIT_TESTS = $(filter-out tests/end_to_end/%,$(sort $(foreach file,$(CHANGED),\
    $(filter tests/%,$(if $(filter test_%,$(notdir $(file))),$(file)))\
    $(wildcard tests/$(dir $(file))test_$(basename $(notdir $(file)))*.py))))
UNNAMED = $(foreach file,$(filter-out tests/%,$(CHANGED)),\
    $(if $(wildcard tests/$(dir $(file))test_$(basename $(notdir $(file)))*.py),,$(file)))

check: lint
	$(if $(UNIT_TESTS),$(PYTEST) $(PYTEST_ARGS) $(UNIT_TESTS),@echo "No unit tests of what changed.")
	$(if $(UNNAMED),@echo "Tested by no file of their name: $(UNNAMED). Run the tests of their folder: see CONTRIBUTING.md.")

demo: $(INSTALLED)
	$(BIN)/luigi --module tasks BuildVDV --workspace '$(WORKSPACE)'

# Trains the networks of the profile demo that are not finished: two hours on two cores, minutes on a GPU. TRAIN_ARGS:
# see `python -m simulation.training.train_networks --help`; with --again it trains what is finished, too.
demo-weights: $(INSTALLED)
	$(BIN)/python -m simulation.training.train_networks $(TRAIN_ARGS)

# Writes constraints.txt anew from what .venv holds, after an upgrade that passes `make test`.
lock: $(INSTALLED)
	$(if $(TORCH),$(error make lock takes PyPI's torch, whose CUDA libraries it pins, and $(VENV) has torch for $(TORCH)))
	$(BIN)/python -m pip freeze --exclude-editable | grep -v -E '^(mmpose|mmdet|mmcv-lite|mmengine)==' > constraints.txt
