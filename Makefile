# `make demo` and `make test` need nothing but Python 3.11+ and make.
PYTHON ?= python3
# A file of versions to install, as tests/lowest.txt; for a clone without .venv.
CONSTRAINTS ?=
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/pip install --quiet $(if $(CONSTRAINTS),--constraint $(CONSTRAINTS)) --editable

.PHONY: help demo test test-slow test-docs test-onnx docs notebooks bench dist-check lint clean

help:
	@echo "make demo       install (0.9 GB), render people, train, evaluate, search"
	@echo "                (3 minutes of CPU time after the installation)"
	@echo "make test       install all (3.5 GB, with TensorFlow), then run the tests;"
	@echo "                CONSTRAINTS=tests/lowest.txt: with the lowest versions allowed"
	@echo "make test-slow  the tests that take longer"
	@echo "make test-docs  every command, code block, link and notebook of README and docs"
	@echo "make test-onnx  the tests of ONNX models, in an environment of their own"
	@echo "make docs       the site, into docs/_build/html"
	@echo "make notebooks  execute the notebooks of docs and keep their outputs"
	@echo "make bench      ours against plain PyTorch in turn (.venv/bin/pip install torch first)"
	@echo "make dist-check  wheel and sdist, each in an environment of its own (minutes, network)"
	@echo "make lint       ruff and pyright"
	@echo "make clean      remove the environment, data and runs that the above made"

$(VENV)/demo: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(INSTALL) .
	touch $@

$(VENV)/installed: $(VENV)/demo
	$(INSTALL) '.[data,dev,docs]'
	touch $@

demo: $(VENV)/demo
	$(BIN)/lupi make-synthetic --out data/synthetic --layout folder --identities 256 \
		--seed 0 --difficulty easy
	$(BIN)/lupi train --config configs/synthetic.py --workdir runs/demo \
		--config.data.image_size="(64,32)" --config.steps=400 \
		--config.optimizer.milestones="(270,365)"
	$(BIN)/lupi evaluate --workdir runs/demo --untrained
	$(BIN)/lupi evaluate --workdir runs/demo
	$(BIN)/lupi search --workdir runs/demo --query data/synthetic/test/infrared/0174 \
		--gallery data/synthetic/test/visible --top 5 --out runs/demo/search.png

test: $(VENV)/installed
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

test-slow: $(VENV)/installed
	JAX_DISABLE_MOST_OPTIMIZATIONS=0 $(BIN)/python -m pytest -m slow

test-docs: $(VENV)/installed
	$(BIN)/python -m pytest -m 'slow or not slow' tests/documentation

# jax2onnx needs an older Orbax, which the other tests should not get.
$(VENV)/onnx/installed: pyproject.toml
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/pip install --quiet --editable '.[onnx]' pytest
	touch $@

test-onnx: $(VENV)/onnx/installed
	$(VENV)/onnx/bin/python -m pytest tests/evaluation/test_onnx.py

docs: $(VENV)/installed
	$(BIN)/python -m sphinx -q -W --keep-going -b html -d docs/_build/doctrees docs docs/_build/html

notebooks: $(VENV)/installed
	$(BIN)/python -m docs.execute_notebooks

bench: $(VENV)/installed
	$(BIN)/python -m experiments.benchmarks

dist-check: $(VENV)/installed
	$(BIN)/python -m experiments.dist_check

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

clean:
	rm -rf $(VENV) data/synthetic runs/demo docs/_build *.egg-info
