# `make` lists the commands. Each one makes .venv first where that is not done yet; MQA_PYTHON=PATH picks its Python.

PYTHON := .venv/bin/python
UV ?= uv
LOCK := $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links
TESTS := $(PYTHON) -m pytest -q --numprocesses=auto --maxprocesses=4 --dist=loadfile --no-loadscope-reorder --max-worker-restart=0
ARGS ?=

.PHONY: help setup tpu gpu tensorflow oracle compare test extra check lock
.DEFAULT_GOAL := help

help: ## this list
	@echo "make COMMAND [ARGS='--flags for what it runs']"
	@sed -n 's/^\([a-z]*\):.*## /  \1\t/p' $(MAKEFILE_LIST) | expand -t 12

setup: ## makes .venv from the locked packages; does nothing when it is up to date
	@.ci/setup

tpu: setup
	@.ci/tpu

gpu: setup
	@.ci/gpu

tensorflow: setup
	@.ci/prepare

oracle: setup ## tests of imported and exported models against transformers and PyTorch (5.7 GB more)
	@.ci/oracle
	@$(TESTS) tests/oracle $(ARGS)

compare: setup ## the main job: trains, evaluates and times five attention types on the embedded data
	@$(PYTHON) scripts/compare.py --config=configs/toy.py --workdir=runs/compare --workers=2 $(ARGS)

test: setup ## the tests
	@$(TESTS) --ignore=tests/extra --ignore=tests/oracle $(ARGS)

extra: setup tpu gpu tensorflow ## the tests that need the TPU or GPU compiler or TensorFlow (635 MB more)
	@$(TESTS) tests/extra $(ARGS)

check: setup tpu gpu tensorflow ## lint, format, types, then all tests
	@$(PYTHON) -m ruff check .
	@$(PYTHON) -m ruff format --check .
	@$(PYTHON) -m pyright
	@$(TESTS) --ignore=tests/oracle $(ARGS)

lock: ## writes the locks anew after a change of pyproject.toml (needs uv; ARGS=--upgrade takes newer versions)
	@$(LOCK) .ci/build.in -o .ci/build.lock $(ARGS)
	@$(LOCK) .ci/tpu.in -o .ci/tpu.lock $(ARGS)
	@$(LOCK) --no-deps .ci/gpu.in -o .ci/gpu.lock $(ARGS)
	@$(LOCK) --no-deps .ci/prepare.in -o .ci/prepare.lock $(ARGS)
	@$(LOCK) .ci/oracle.in -o .ci/oracle.lock $(ARGS)
	@$(LOCK) --no-deps .ci/smollm2.in -o .ci/smollm2.lock $(ARGS)
	@$(LOCK) pyproject.toml --extra dev -o .ci/requirements.lock $(ARGS)
