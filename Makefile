# Needs Python (3.10 or newer) and make; everything else is set up here.
#   make train                                      the main job: learns to drive CarRacing-v2
#   make train ARGS="--env ALE/Pong-v5 --algo dqn"  the same with other arguments
#   make test                                       lint, types and tests
#   make results                                    the smallest result of docs/results.md, made again

PYTHON ?= python3
ENV ?= CarRacing-v2
ARGS ?= --env $(ENV)
VENV := .venv
OLDEST := .venv-oldest
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PIP_FLAGS := --disable-pip-version-check --quiet
# One process per core; each keeps to one thread, or they fight over the cores.
WORKERS ?= auto
ONE_THREAD := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1

.PHONY: help install train test tests lint types format test-oldest test-system results wheel clean

help:
	@sed -n '2,5s/^# *//p' Makefile

install: $(STAMP)

# torch is named so that pip takes the very build that constraints.txt pins, a local CPU build where there is one.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install $(PIP_FLAGS) -c constraints.txt torch -e '.[train,dev]'
	touch $@

train: $(STAMP)
	$(BIN)/python train_agent.py $(ARGS)

test: lint types tests

tests: $(STAMP)
	$(ONE_THREAD) $(BIN)/python -m pytest -q -n $(WORKERS) tests

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The core tests on the oldest Stable-Baselines3 and Gymnasium that pyproject.toml names.
$(OLDEST)/.installed: pyproject.toml constraints-oldest.txt
	$(PYTHON) -m venv $(OLDEST)
	$(OLDEST)/bin/python -m pip install $(PIP_FLAGS) -c constraints-oldest.txt torch -e '.[contrib]' pytest pytest-xdist hypothesis
	touch $@

test-oldest: $(OLDEST)/.installed
	$(ONE_THREAD) $(OLDEST)/bin/python -m pytest -q -n $(WORKERS) tests --ignore=tests/agents --ignore=tests/envs --ignore=tests/pretraining --ignore=tests/evaluation --ignore=tests/diagnostics \
		--ignore=tests/peers --ignore=tests/benchmarks --ignore-glob='tests/test_train_agent*' --ignore=tests/test_packaging.py --ignore=tests/test_rl_zoo.py

# Against EnvPool's Procgen and dm_control themselves; needs Debian's libqt5gui5, libegl1 and libgl1.
test-system: $(STAMP)
	$(BIN)/python -m pip install $(PIP_FLAGS) -c constraints.txt torch -e '.[train,dev,envpool,dmc]'
	MUJOCO_GL=egl LP_NUM_THREADS=1 $(ONE_THREAD) $(BIN)/python -m pytest -q tests/system/check_procgen.py tests/system/check_dmc.py

# The smallest result of docs/results.md, made again: ten runs and their report, in six minutes on two quiet cores.
results: $(STAMP)
	$(BIN)/python train_agent.py --env PixelAcrobot-v0 --algo ppo --objective none cpc --seeds 0 1 2 3 4 --jobs 2 --log-dir runs

wheel: $(STAMP)
	$(BIN)/python -m build --wheel

clean:
	rm -rf $(VENV) $(OLDEST) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
