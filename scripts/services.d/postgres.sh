# shellcheck shell=bash disable=SC2154 # names set by scripts/services
# Postgres: how to find one that answers, and how to run a private one. Sourced by scripts/services, which sets
# $root and $state and gives say, run_as, service_user, make_home, free_port and random_password.

postgres_oldest=15

# The newest installed server that is new enough; prints the folder of its programs.
postgres_bin() {
  local dir major
  for dir in $(printf '%s\n' /usr/lib/postgresql/*/bin /usr/pgsql-*/bin | sort -rV) \
    "$(pg_config --bindir 2>/dev/null || true)" /usr/local/pgsql/bin /usr/local/bin /usr/bin; do
    [[ -x $dir/initdb && -x $dir/postgres ]] || continue
    major=$("$dir/postgres" --version | sed -E 's/[^0-9]*([0-9]+).*/\1/')
    ((major >= postgres_oldest)) && { echo "$dir"; return 0; }
  done
  return 1
}

psql_program() {
  command -v psql || { local bin && bin=$(postgres_bin) && [[ -x $bin/psql ]] && echo "$bin/psql"; }
}

# postgres_query URL SQL: one value, within 10 s. Passwords come from the URL alone, since turnup reads no .pgpass.
postgres_query() {
  PGPASSFILE=$state/none PGCONNECT_TIMEOUT=5 timeout 10 "$(psql_program)" -X -q -A -t -w -v ON_ERROR_STOP=1 \
    -d "$1" -c "$2" </dev/null
}

# Does a Postgres answer there, whoever asks? (SSLRequest is answered before any login.)
postgres_answers() { # host port
  # shellcheck disable=SC2016 # expanded by the inner bash
  [[ $(timeout 5 bash -c 'exec 3<>"/dev/tcp/$0/$1" && printf "\0\0\0\x08\x04\xd2\x16\x2f" >&3 && head -c 1 <&3' "$1" "$2" 2>/dev/null) == [SN] ]]
}

# May this login do what turnup needs (create databases; the tests also clone them)? Says why not.
postgres_suits() { # url
  local facts
  facts=$(postgres_query "$1" "select current_setting('server_version_num')::int / 10000, rolsuper or rolcreatedb
    from pg_roles where rolname = current_user" 2>/dev/null) || return 1
  ((${facts%%|*} >= postgres_oldest)) ||
    { say "Postgres ${facts%%|*} answers, but turnup needs $postgres_oldest or later"; return 1; }
  [[ ${facts##*|} == t ]] || { say "Postgres lets us in, but not create databases"; return 1; }
}

# Makes the database `turnup` on a server where we came in by another one.
postgres_own_database() { # url of another database on the server
  [[ $(postgres_query "$1" "select 1 from pg_database where datname = 'turnup'") == 1 ]] ||
    postgres_query "$1" 'create database turnup'
}

postgres_env() { # prints the URL if it works
  local url=${TURNUP_DATABASE_URL:-}
  [[ -n $url ]] || return 1
  if psql_program >/dev/null; then
    postgres_query "$url" 'select 1' >/dev/null ||
      { say "TURNUP_DATABASE_URL is set, but that server or database can't be used (reason above); trying the next way"; return 1; }
  else
    if ! [[ $url =~ ^postgres(ql)?://([^@/]*@)?([^:/?]+)(:([0-9]+))? ]] ||
      ! postgres_answers "${BASH_REMATCH[3]}" "${BASH_REMATCH[5]:-5432}"; then
      say "TURNUP_DATABASE_URL is set, but no Postgres answers there; trying the next way"
      return 1
    fi
    say "TURNUP_DATABASE_URL answers; its login isn't checked, for want of psql (package postgresql-client)"
  fi
  echo "$url"
}

postgres_running() {
  local me login socket
  postgres_answers 127.0.0.1 5432 || return 1
  psql_program >/dev/null ||
    { say "a Postgres answers on 127.0.0.1:5432, but there is no psql to log in with (package postgresql-client); trying the next way"; return 1; }
  me=$(id -un)
  local urls=("postgres://$me@127.0.0.1:5432" postgres://postgres@127.0.0.1:5432)
  for socket in /var/run/postgresql /tmp; do
    [[ -S $socket/.s.PGSQL.5432 ]] && urls+=("postgres://$me@${socket//\//%2F}")
  done
  for login in "${urls[@]}"; do
    if postgres_suits "$login/postgres" && postgres_own_database "$login/postgres"; then
      echo "$login/turnup"
      return 0
    fi
  done
  say "a Postgres answers on 127.0.0.1:5432, but none of the usual local logins works ($me or postgres without password);" \
    "set TURNUP_DATABASE_URL to use it. Trying the next way"
  return 1
}

postgres_private() {
  local bin user home port server try
  bin=$(postgres_bin) || { say "no Postgres server of version $postgres_oldest or later is installed"; return 1; }
  user=$(service_user postgres)
  home=$(make_home postgres "$user")
  postgres_private_stop || return 1
  if [[ ! -s $home/data/PG_VERSION ]]; then
    rm -rf "$home/data"
    random_password >"$home/password"
    chmod 600 "$home/password"
    chown "$user" "$home/password"
    run_as "$user" timeout 120 "$bin/initdb" -D "$home/data" -U turnup -A scram-sha-256 \
      --pwfile="$home/password" --no-locale -E UTF8 </dev/null >"$home/initdb.log" 2>&1 ||
      { tail -n 5 "$home/initdb.log" >&2; say "initdb failed ($home/initdb.log)"; return 1; }
  fi
  [[ $("$bin/postgres" --version) =~ \)\ $(<"$home/data/PG_VERSION")([^0-9]|$) ]] ||
    { say "$home/data belongs to Postgres $(<"$home/data/PG_VERSION"), which is not the one in $bin; remove that folder to start afresh"; return 1; }
  for try in 1 2 3; do
    port=$(free_port "$home/port")
    # pg_ctl gives the server a session of its own; our lock must not go with it.
    if run_as "$user" timeout 70 "$bin/pg_ctl" start -D "$home/data" -l "$home/server.log" -w -t 60 \
      -o "-c listen_addresses=127.0.0.1 -c port=$port -c unix_socket_directories='' -c max_connections=300" \
      </dev/null >"$home/start.log" 2>&1 {lock}>&-; then
      server="postgres://turnup:$(<"$home/password")@127.0.0.1:$port"
      postgres_own_database "$server/postgres" || return 1
      echo "$server/turnup"
      return 0
    fi
    postgres_private_stop
    rm -f "$home/port"
  done
  tail -n 5 "$home/server.log" >&2
  say "the private Postgres did not start in $try tries ($home/server.log)"
  return 1
}

postgres_private_stop() {
  local home bin user code=0
  home=$(readlink -f "$state/postgres") || return 0 # the server's user may not get at it by our path
  [[ -s $home/data/postmaster.pid ]] || return 0
  if ! bin=$(postgres_bin); then
    say "a private Postgres seems to run from $home/data, but pg_ctl is gone; end process $(head -n 1 "$home/data/postmaster.pid") by hand"
    return 1
  fi
  user=$(stat -c %U "$home/data")
  run_as "$user" "$bin/pg_ctl" status -D "$home/data" >/dev/null || code=$?
  ((code != 3)) || return 0 # not running: a stale file
  run_as "$user" timeout 70 "$bin/pg_ctl" stop -D "$home/data" -m fast -w -t 60 </dev/null >&2 ||
    { say "the private Postgres in $home/data did not stop within 60 s"; return 1; }
}

postgres_still() { # url: does it still answer?
  if psql_program >/dev/null; then postgres_query "$1" 'select 1' >/dev/null 2>&1; else postgres_env >/dev/null; fi
}

postgres_compose_url() { # port
  echo "postgres://turnup:${TURNUP_POSTGRES_PASSWORD:-turnup}@127.0.0.1:$1/turnup"
}
