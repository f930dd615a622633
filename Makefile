# One verb per intention. Everything here works on a fresh machine with Python >= 3.11, make and a network.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.setup-done

.PHONY: help setup demo test test-long setup-gpu test-gpu check lint types imports stubs-check proto format bench bench-gpu validate lock clean

help:  ## list the verbs
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 20

setup: $(STAMP)  ## make .venv with the pinned dependencies and the command `dosecalc`

$(STAMP): pyproject.toml constraints.txt
	@PYTHON="$(PYTHON)" VENV="$(VENV)" sh tools/make_venv.sh
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: setup  ## a phantom patient through a server on loopback: dose, DVH, picture
	$(BIN)/python tools/demo.py --output demo-output

test: setup  ## the tests (about five minutes on two cores)
	$(BIN)/python -m pytest -n auto --dist loadfile -m 'not long'

test-long: setup  ## the cases that take minutes each
	$(BIN)/python -m pytest -m long

# cuBLAS and cuFFT, which CuPy takes from a CUDA toolkit or from these wheels; too large for machines without a GPU
setup-gpu: setup
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt 'cupy-cuda12x[ctk]'

test-gpu: setup-gpu  ## the tests that need a CUDA device; they skip, with the reason, where there is none
	$(BIN)/python -m pytest -m gpu

check: lint types imports stubs-check  ## lint, format, types, import rules, fresh gRPC stubs

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup
	$(BIN)/mypy

imports: setup
	$(BIN)/lint-imports

stubs-check: setup
	$(BIN)/python tools/generate_stubs.py --check

proto: setup  ## regenerate the gRPC stubs beside the .proto files
	$(BIN)/python tools/generate_stubs.py

format: setup  ## put the code into its format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: setup  ## kernel and plan benchmarks on this machine, JSON into bench-output/
	$(BIN)/python -m benchmarks.transport --output bench-output/transport.json

bench-gpu: setup-gpu  ## the same on a CUDA device, with registers and spills of the kernels
	$(BIN)/python -m benchmarks.cuda_resources --output bench-output/cuda-resources.json
	$(BIN)/python -m benchmarks.cuda --output bench-output/cuda.json

validate: setup  ## the engine beside the Monte Carlo cases that ship with it; fails while a target is missed
	$(BIN)/dosecalc validate

lock: setup  ## pin what is installed now as the tested set
	$(BIN)/python tools/lock.py > constraints.txt

clean:  ## remove what setup and the tests made
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis demo-output bench-output
