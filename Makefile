# make book: the environment, the notebooks, the book.  make test: everything that must hold.  make format: tidy the code.
PYTHON ?= python3
DATASETS ?= synthetic
BIN := .venv/bin
.DELETE_ON_ERROR:
.PHONY: book test faults format notebooks bench peers clean

book: .venv/installed
	@$(BIN)/mixlib book --datasets "$(DATASETS)"

test: .venv/installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pytest --nbval --numprocesses auto --maxprocesses 4 --dist loadfile

# The faults again, many times as often as in the tests: 100 kills for one job and 100 for two, 2,000 damaged files for each reader.
faults: .venv/installed
	MIXLIB_KILLS=100 MIXLIB_FUZZ=2000 $(BIN)/pytest -s tests/test_faults.py tests/test_parsers.py

format: .venv/installed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# After a change to a notebook or to mixlib: run the copies on synthetic, and store their outputs in the sources. Commit both.
notebooks: .venv/installed
	@$(BIN)/mixlib book --datasets synthetic
	@$(BIN)/python -c "from mixlib import notebooks; notebooks.refresh(notebooks.Project())"

# Cost of training and ranking, beside other libraries: `make peers` installs those that need an environment of their own.
bench: .venv/installed
	$(BIN)/python benchmarks/cost.py

peers: .venv-peers/installed

.venv-peers/installed: benchmarks/peers.txt
	$(PYTHON) -m venv .venv-peers
	.venv-peers/bin/python -m pip install --quiet --requirement benchmarks/peers.txt
	@touch $@

.venv/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(None if (3, 11, 5) <= sys.version_info < (3, 14) else "Python 3.11.5 to 3.13 is needed, and $(PYTHON) is " + sys.version.split()[0] + ": try make PYTHON=python3.12")'
	@echo "installing packages, which takes several minutes"
	@{ [ "$$($(BIN)/python -V 2>/dev/null)" = "$$($(PYTHON) -V)" ] && $(BIN)/python -m pip -V >/dev/null 2>&1; } || $(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[book,test]"
	@touch $@

clean:
	rm -rf .venv .venv-peers book/_build
