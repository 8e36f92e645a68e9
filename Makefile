# The commands of this project. As root or with sudo, on Debian 12 or Ubuntu 24.04, in a fresh clone:
#   make demo            one call each way between an XMPP user and a SIP telephone    (MUTE=caller|callee makes it fail)
#   make test            everything, the tests with real peers included
#   make unit            the pure tests alone, in seconds
#   make lint            style and types
#   make bench-dialplan    what a decision costs among ten thousand rules, and with limits in a database
#   make bench-sip         what SIP costs, beside Sippy
#   make soak              50,000 calls: does memory grow, and what is left over
#   make soak-media        10,000 calls through a media worker: memory, descriptors, ports
#   make fuzz-media        1,000,000 mutated datagrams at an open call's ports           (FUZZ="--count 20000 --seed 2")
#   make bench-signalling  what a call's signalling costs, beside a bare slixmpp component
#   make bench-media-time  how long after the answer both hear each other, with real media and an aiortc client
#   make bench-media       what a packet costs, beside rtpengine and aiortc            (BENCH="--rounds 1 --relay 50")
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# A test asserts one state after another of the same thing, where mypy takes the first for ever.
AFTER_CHANGES := --no-strict-equality --no-warn-unreachable

.PHONY: demo test unit lint bench-dialplan bench-sip soak soak-media fuzz-media bench-signalling bench-media bench-media-time venv packages test-packages clean
.DEFAULT_GOAL := demo

demo: packages venv
	$(BIN)/python -m deploy.demo $(if $(MUTE),--mute $(MUTE))

test: test-packages venv
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -n 3 --dist worksteal $(TESTS)  # most of them wait for peers more than they work
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

unit: venv
	$(BIN)/python -m pytest -n auto --dist worksteal -m "not interop and not slow" --ignore=tests/interop

lint: venv
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/mypy --strict --explicit-package-bases $(AFTER_CHANGES) tests deploy

bench-dialplan: test-packages venv
	$(BIN)/python -m tests.dialplan.bench

bench-sip: test-packages venv
	$(BIN)/python -m tests.sip.speed

soak: venv
	$(BIN)/python -m tests.sip.soak

soak-media: venv
	$(BIN)/python -m tests.media.soak

fuzz-media: venv
	$(BIN)/python -m tests.media.fuzz $(FUZZ)

bench-signalling: test-packages venv
	$(BIN)/python -m tests.scenarios.bench

bench-media-time: test-packages venv
	$(BIN)/python -m tests.interop.bench

bench-media: venv
	$(BIN)/python -m tests.media.bench $(BENCH)

packages:
	deploy/install-packages.sh

test-packages:
	deploy/install-packages.sh --tests

venv: $(VENV)/.installed

$(VENV)/.installed: requirements.lock pyproject.toml | packages
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps -e .
	touch $@

clean:
	rm -rf $(VENV) demo-run tests/interop/web/node_modules .pytest_cache .mypy_cache .ruff_cache
