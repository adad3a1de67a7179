# make demo   what the bundled models make, to see and to hear, into out/
# make test   everything that must hold: style, types, tests
# make lint   style and types alone;  make clean  remove what these wrote, but for .venv
#
# Each works from a fresh clone: the environment in .venv is made when it is missing or out of date.
# PYTHON=... names the interpreter to make it with, 3.11 or newer.

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.PHONY: demo test lint clean
.DELETE_ON_ERROR:

demo: $(READY)
	@$(BIN)/mmdiff sample digits -n 100 --seed 0 --out out/digits.png --overwrite
	@$(BIN)/mmdiff sample digits -n 25 --seed 0 --out out/digits.gif --overwrite
	@$(BIN)/mmdiff sample speech -n 10 --seed 0 --out out/speech.wav --overwrite
	@$(BIN)/mmdiff sample speech -n 10 --seed 0 --out out/speech.png --overwrite
	@$(BIN)/mmdiff enhance docs/noisy.wav --out out/clean.wav --overwrite
	@$(BIN)/mmdiff enhance docs/noisy.wav --out out/clean.png --overwrite
	@$(BIN)/mmdiff sample duet -n 10 --seed 0 --out out/duet.mp4 --overwrite
	@echo "Look at out/digits.png, and at out/digits.gif to see them come out of the noise."
	@echo "Listen to out/speech.wav, which counts from zero to nine, and see it in out/speech.png."
	@echo "Out of docs/noisy.wav came out/clean.wav; out/clean.png shows both."
	@echo "Watch out/duet.mp4: digits that are written and spoken at once."

test: lint
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2

lint: $(READY)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy mmdiff recipes benchmarks

# k-diffusion is a peer in tests and benchmarks, for its sampling.py alone. What it requires for
# other purposes conflicts with the pinned versions, so it comes without.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "mmdiff needs Python 3.11 or newer, and '$(PYTHON)' is not: make $(MAKECMDGOALS) PYTHON=/path/to/python3.11"; \
	  exit 1; }
	@echo "Installing mmdiff and what it needs into .venv (several GB the first time, some minutes) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt -e '.[dev,bench]'
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt --no-deps k-diffusion
	@touch $@

clean:
	rm -rf out build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find mmdiff recipes benchmarks tests -name __pycache__ -type d -prune -exec rm -rf {} +
