# The commands of the project. `make help` lists them; docs/development.md says more.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.SUFFIXES:

PG_CONFIG ?= $(shell command -v pg_config || echo /usr/bin/pg_config)
DESTDIR ?=
CARGO_TARGET_DIR ?= $(CURDIR)/target

# What to build. The features of shared dependencies depend on it: for the tests, --workspace ensures that they are
# compiled only once.
PACKAGES ?= -p aadauth -p aadauth-network

# Where the server has its files. To package for another machine, give pkglibdir= and sharedir=, and
# PAM=yes if the server there is built with PAM.
pkglibdir = $(shell "$(PG_CONFIG)" --pkglibdir)
sharedir = $(shell "$(PG_CONFIG)" --sharedir)
PAM = $(if $(findstring --with-pam,$(shell "$(PG_CONFIG)" --configure)),yes)

# Where the library is built; .ci/on-server chooses another than cargo's for some servers.
AADAUTH_BUILD_DIR ?= $(CARGO_TARGET_DIR)

# The major version that the library in the build directory is for.
BUILT_FOR = $(AADAUTH_BUILD_DIR)/release/aadauth.major

export CARGO_TARGET_DIR
export PGRX_PG_CONFIG_PATH = $(PG_CONFIG)
export PGRX_HOME = $(CARGO_TARGET_DIR)/pgrx

# Where libpam has its modules.
pamdir ?= $(patsubst %/,%,$(dir $(firstword $(wildcard $(addsuffix /security/pam_permit.so,/lib/*-linux-gnu /lib64 /lib)))))

# Where PgBouncer's checker is installed.
bindir ?= /usr/local/bin

.PHONY: help all build install pooler install-pooler token token-path emulator deb deb-pooler deb-token demo demo-stop test test-all nightly lint

help: ## print this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# What the clients of PGXN call.
all: build

build: ## build the library for PG_CONFIG=/path/to/pg_config (default: the one on the PATH)
	@[[ -x "$(PG_CONFIG)" ]] || {
	    echo 'make: no pg_config at "$(PG_CONFIG)": install the headers of your server' \
	        '(Debian: postgresql-server-dev-15), or give PG_CONFIG=/path/to/pg_config' >&2
	    exit 1
	}
	command -v cargo >/dev/null || {
	    echo 'make: cargo is not on the PATH of $(shell id -un): install Rust 1.95 or later' \
	        '(https://rustup.rs), or put it on the PATH' >&2
	    exit 1
	}
	version=$$("$(PG_CONFIG)" --version | awk '{ print $$2 }')
	major=$${version%%[!0-9]*}
	case $$major in
	15 | 16 | 17 | 18) ;;
	*)
	    echo "make: $(PG_CONFIG) is of PostgreSQL $$version; aadauth is for 15, 16, 17 and 18" >&2
	    exit 1
	    ;;
	esac
	cargo build --release --locked --target-dir "$(AADAUTH_BUILD_DIR)" $(PACKAGES) --no-default-features --features "pg$$major"
	echo "$$major" >$(BUILT_FOR)

# Each file is written beside its place and renamed: a server that has the old library loaded keeps
# it. What was built is copied as it is; nothing but this target writes outside the build directory.
install: ## install what was built: library, SQL and PAM service file (as root; DESTDIR= works)
	@version=$$("$(PG_CONFIG)" --version | awk '{ print $$2 }')
	major=$${version%%[!0-9]*}
	if [[ $$(cat $(BUILT_FOR) 2>/dev/null) != "$$major" ]]; then
	    echo "make: there is no library for PostgreSQL $$major to install: run \`make build\` first" >&2
	    exit 1
	fi
	pkglibdir=$(pkglibdir)
	extensions=$(sharedir)/extension
	release=$$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
	new=.aadauth-new
	put() { # mode, source, destination
	    mkdir -p "$$(dirname "$$3")"
	    cmp -s "$$2" "$$3" && [[ $$(stat -c %a "$$3") == "$${1#0}" ]] && return
	    install -m "$$1" "$$2" "$$(dirname "$$3")/$$new"
	    mv -f "$$(dirname "$$3")/$$new" "$$3"
	    echo "installed $$3"
	}
	if [[ -z "$(DESTDIR)" && $$EUID != 0 ]]; then
	    echo 'make: installing needs the rights of root: run it with sudo, or give DESTDIR=' >&2
	    exit 1
	fi
	work=$$(mktemp -d)
	trap 'rm -rf "$$work"' EXIT
	put 0644 aadauth.control "$(DESTDIR)$$extensions/aadauth.control"
	put 0644 sql/pgaadauth.control "$(DESTDIR)$$extensions/pgaadauth.control"
	for script in sql/aadauth--*.sql sql/pgaadauth--*.sql; do
	    put 0644 "$$script" "$(DESTDIR)$$extensions/$$(basename "$$script")"
	done
	# Before aadauth.so, whose workers load it: they never find an older one.
	put 0755 "$(AADAUTH_BUILD_DIR)/release/libaadauth_network.so" "$(DESTDIR)$$pkglibdir/aadauth_network.so"
	put 0755 "$(AADAUTH_BUILD_DIR)/release/libaadauth.so" "$(DESTDIR)$$pkglibdir/aadauth.so"
	if [[ "$(PAM)" == yes ]]; then
	    # The path must be exactly this one: by its name, libpam finds the library that the server
	    # has loaded already.
	    {
	        echo '# Sign-in to PostgreSQL with Entra ID tokens. Leave this file in place: without it,'
	        echo '# libpam asks /etc/pam.d/other.'
	        echo "auth     required  $$pkglibdir/aadauth.so"
	        echo "account  required  $$pkglibdir/aadauth.so"
	    } >"$$work/pam"
	    pam=$(DESTDIR)/etc/pam.d/aadauth-$$major
	    if [[ -e $$pam ]] && ! cmp -s "$$work/pam" "$$pam"; then
	        cp -p "$$pam" "$$pam.old"
	        echo "kept what $$pam said before in $$pam.old"
	    fi
	    put 0644 "$$work/pam" "$$pam"
	    lines=(
	        'in pg_hba.conf, below the line for local connections as postgres:' ''
	        "    hostssl  all  all  all  pam pamservice=aadauth-$$major" ''
	        'README.md goes through it step by step.'
	    )
	else
	    echo 'note: this PostgreSQL is built without PAM; no PAM service file is installed'
	    lines=(
	        "    aadauth.hba_file = 'aadauth_hba.conf'" ''
	        'and in that file, in the data directory, the lines of docs/alternate-hba-file.md.'
	    )
	fi
	printf '%s\n' \
	    '' \
	    "aadauth $$release is installed for PostgreSQL $$version. Next, in postgresql.conf:" \
	    '' \
	    "    shared_preload_libraries = 'aadauth'" \
	    "    aadauth.tenant_id = '<the id of your tenant>'" \
	    "    aadauth.audience = 'api://<application id>,<application id>'" \
	    '' \
	    "$${lines[@]}" \
	    '' \
	    'Then restart the server and run CREATE EXTENSION aadauth in the database postgres, or in the one' \
	    'that aadauth.database names.'

pooler: ## build the PAM module for PgBouncer, and its checker (needs libpq's headers)
	@cargo build --release --locked -p pam-pooler

install-pooler: ## install both, and PgBouncer's PAM service file (as root; DESTDIR= works)
	@module=$(CARGO_TARGET_DIR)/release/libpam_aadauth.so
	checker=$(CARGO_TARGET_DIR)/release/aadauth-pooler-check
	if [[ ! -e $$module || ! -e $$checker ]]; then
	    echo 'make: there is no module to install: run `make pooler` first' >&2
	    exit 1
	fi
	if [[ -z "$(pamdir)" ]]; then
	    echo 'make: no directory of PAM modules was found: give pamdir=' >&2
	    exit 1
	fi
	mkdir -p "$(DESTDIR)$(pamdir)" "$(DESTDIR)/etc/pam.d"
	install -m 0644 "$$module" "$(DESTDIR)$(pamdir)/.aadauth-new"
	mv -f "$(DESTDIR)$(pamdir)/.aadauth-new" "$(DESTDIR)$(pamdir)/pam_aadauth.so"
	echo "installed $(DESTDIR)$(pamdir)/pam_aadauth.so"
	install -D -m 0755 "$$checker" "$(DESTDIR)$(bindir)/aadauth-pooler-check"
	echo "installed $(DESTDIR)$(bindir)/aadauth-pooler-check"
	service=$(DESTDIR)/etc/pam.d/pgbouncer
	if [[ -e $$service ]]; then
	    echo "kept $$service as it is; it must have the lines \"auth required pam_aadauth.so\" and" \
	        '"account required pam_aadauth.so", and no other module that lets clients in'
	else
	    printf '%s required pam_aadauth.so\n' auth account >"$$service"
	    echo "installed $$service"
	fi

# The same programs run on every distribution: nothing of them comes from a library of the system.
TOKEN_TARGET = $(shell rustc -vV | sed -n 's/^host: //p')

token: ## build aadauth-token, which gets tokens for clients: one static program
	@RUSTFLAGS='-C target-feature=+crt-static' cargo build --release --locked -p aadauth-token --target $(TOKEN_TARGET)
	echo "built $$($(MAKE) -s token-path)"

token-path:
	@echo $(CARGO_TARGET_DIR)/$(TOKEN_TARGET)/release/aadauth-token

emulator: ## build the Entra emulator, one static program, and put its replacement for az beside it
	@RUSTFLAGS='-C target-feature=+crt-static' cargo build --release --locked -p entra-emulator --target $(TOKEN_TARGET)
	install -D -t "$(CARGO_TARGET_DIR)/emulator" "$(CARGO_TARGET_DIR)/$(TOKEN_TARGET)/release/entra-emulator" \
	    crates/entra-emulator/bin/az

deb: build ## make a Debian package of it, for Debian's or PGDG's server of PG_CONFIG's major version
	@PG_CONFIG="$(PG_CONFIG)" packaging/deb server

deb-pooler: pooler ## make a Debian package for PgBouncer's machine
	@packaging/deb pooler

deb-token: token ## make a Debian package of aadauth-token
	@packaging/deb token

demo: ## sign in to a temporary server with tokens of the Entra emulator; installs what is missing
	@pg_test/demo start

demo-stop: ## stop what `make demo` left running, and remove it
	@pg_test/demo stop

test: ## the tests that each change needs (as root, on Debian; installs what is missing)
	@.ci/test

test-all: ## these, all supported versions of PostgreSQL, packages, dependency rules, the crash test
	@.ci/run

nightly: ## what takes longer: all tests on all versions, PostgreSQL's own tests, ten minutes of crashes
	@.ci/test nightly

lint: ## formatting, clippy and shellcheck
	@.ci/test lint
