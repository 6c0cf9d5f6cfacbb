# Two commands: `make demo` shows the main job, `make install` prepares development.
PYTHON ?= python3
BIN := .venv/bin
SAMPLE := src/tunelab/samples/reviews.csv
# Test files that run side by side, one thread each.
WORKERS ?= 2

.PHONY: demo install test check format clean

demo: .venv/demo.done  ## every method on the sample reviews, the table, a winner, a prediction
	HF_HUB_OFFLINE=1 $(BIN)/tunelab compare $(SAMPLE) --config examples/demo.yaml --out tunelab-out/demo
	HF_HUB_OFFLINE=1 $(BIN)/tunelab predict tunelab-out/demo/winner \
		--text "Great, another charger that dies in a week." \
		--text "I can't say I regret buying it, it does its job every single day."

install: .venv/dev.done  ## everything a developer needs

test: .venv/dev.done  ## the whole test suite
	OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

check: .venv/dev.done  ## lint, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: .venv/dev.done
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/demo.done: pyproject.toml constraints.txt | .venv/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[demo]'
	touch $@

.venv/dev.done: pyproject.toml constraints.txt | .venv/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@ .venv/demo.done

clean:
	rm -rf .venv tunelab-out
