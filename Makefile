# Three commands do everything on a fresh machine: make demo, make points-demo, make test. Each makes its own .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEPS := $(VENV)/.installed

# bytecode is kept, or each of the many processes that tests start would compile all packages anew
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo points-demo test lint clean

$(DEPS): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --no-compile --editable '.[nerf,points,dev]'
	touch $(DEPS)

demo: $(DEPS)
	$(BIN)/python scripts/demo.py

points-demo: $(DEPS)
	$(BIN)/python scripts/points_demo.py

test: $(DEPS) lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

lint: $(DEPS)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

clean:
	rm -rf $(VENV) outputs
