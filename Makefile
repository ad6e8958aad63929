# Everything that a newcomer, a developer or CI types. Targets call scripts; each script says at its top what it does.

.DEFAULT_GOAL := help
.PHONY: help demo dev test bench faults soak fmt lint services-up services-down netconfd

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1	\2/p' $(MAKEFILE_LIST) | expand -t 24

demo: ## the whole system with simulated devices runs the sample orders and says how each ended
	scripts/demo

dev: ## the whole system stays up, on http://127.0.0.1:8080
	scripts/dev

test: ## format, lints and every test; sets up what is missing
	scripts/test

bench: ## the whole-system benchmark, as a table
	scripts/bench

faults: ## only the crash tests
	scripts/test faults

soak: ## the crash tests, and 100,000 seeds of the simulation
	scripts/test soak

fmt: ## write the code in its format
	cargo fmt --all

lint: ## what `make test` checks before the tests
	scripts/test lint

services-up: ## find or start Postgres and RabbitMQ, print their URLs
	scripts/services up

services-down: ## end what services-up started
	scripts/services down

netconfd: ## install the NETCONF server that the tests talk to (Debian and Ubuntu, as root)
	scripts/netconfd install
