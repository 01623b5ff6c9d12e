# `make help` lists the targets.
SHELL := /bin/bash
.DEFAULT_GOAL := help

.PHONY: help deps test lint fmt golden

help: ## This list.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

deps: ## Install what the build needs (a C compiler, Rust's components).
	@scripts/install-deps

test: deps lint ## Run every test.
	@echo "== test: cargo test, the whole workspace"
	@cargo test --workspace --locked

lint: deps ## Formatting and clippy, warnings are errors.
	@echo "== lint: cargo fmt, cargo clippy"
	@cargo fmt --all --check
	@cargo clippy --workspace --all-targets --locked --quiet -- -D warnings

fmt: ## Format the code.
	@cargo fmt --all

golden: ## Make the golden values again (diffusers and torch, a 6 GB install) and say what changed.
	@OMP_NUM_THREADS=1 "$$(scripts/oracle)" inference-server/golden/run.py
