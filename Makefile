# make book: the environment, the notebooks, the book.  make test: everything that must hold.  make format: tidy the code.
PYTHON ?= python3
DATASETS ?= synthetic
BIN := .venv/bin
.DELETE_ON_ERROR:
.PHONY: book test format notebooks bench clean

book: .venv/installed
	@$(BIN)/mixlib book --datasets "$(DATASETS)"

test: .venv/installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pytest --nbval

format: .venv/installed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Run the source notebooks in place, after a change to them or to mixlib; then run their copies in the book and commit both.
notebooks: .venv/installed
	$(BIN)/python -c "from mixlib import publish; publish.refresh(publish.Project())"
	$(BIN)/mixlib book --force --datasets "$(DATASETS)"

bench: .venv/installed
	$(BIN)/python benchmarks/speed.py

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[book,test]"
	@touch $@

clean:
	rm -rf .venv book/_build
