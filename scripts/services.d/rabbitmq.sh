# shellcheck shell=bash disable=SC2154 # names set by scripts/services
# RabbitMQ: how to find one that answers, and how to run a private one. Sourced by scripts/services, which sets
# $root and $state and gives say, run_as, launch_as, service_user, make_home, free_port and the
# process functions.

rabbitmq_oldest=3.10

# The folder with the server's real scripts; Debian's wrapper in PATH insists on its own user and data folder.
rabbitmq_bin() {
  local dir
  for dir in $(printf '%s\n' /usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin | sort -rV) \
    "${RABBITMQ_HOME:-/opt/rabbitmq}/sbin" /usr/local/sbin /usr/local/opt/rabbitmq/sbin; do
    [[ -x $dir/rabbitmq-server && -e $dir/rabbitmq-env ]] && { echo "$dir"; return 0; }
  done
  return 1
}

epmd_program() {
  local erl epmd
  command -v epmd && return 0
  erl=$(readlink -f "$(command -v erl)") || return 1
  for epmd in "${erl%/*}/epmd" "${erl%/bin/erl}"/erts-*/bin/epmd; do
    [[ -x $epmd ]] && { echo "$epmd"; return 0; }
  done
  return 1
}

amqp_probe() { timeout 10 "$root/scripts/services.d/amqp-probe" "$1"; }

rabbitmq_new_enough() { # version; one that can't be read passes
  [[ ! $1 =~ ^[0-9]+\.[0-9]+ ]] || [[ $(printf '%s\n' "$rabbitmq_oldest" "$1" | sort -V | head -n 1) == "$rabbitmq_oldest" ]] ||
    { say "RabbitMQ $1 answers, but turnup needs $rabbitmq_oldest or later"; return 1; }
}

rabbitmq_env() { # prints the URL if it works
  local url=${TURNUP_AMQP_URL:-} version
  [[ -n $url ]] || return 1
  if ! version=$(amqp_probe "$url"); then
    say "TURNUP_AMQP_URL is set, but that broker doesn't answer or refuses the login or vhost; trying the next way"
    return 1
  fi
  rabbitmq_new_enough "$version" || return 1
  echo "$url"
}

rabbitmq_running() {
  local url=amqp://guest:guest@127.0.0.1:5672/%2f version code=0
  version=$(amqp_probe "$url") || code=$?
  case $code in
    0) rabbitmq_new_enough "$version" && echo "$url" ;;
    1) return 1 ;;
    *)
      say "something answers on 127.0.0.1:5672, but not to guest/guest; set TURNUP_AMQP_URL to use it. Trying the next way"
      return 1
      ;;
  esac
}

rabbitmq_private() {
  local bin epmd user home port url try
  if ! bin=$(rabbitmq_bin) || ! epmd=$(epmd_program); then
    say "no RabbitMQ server is installed"
    return 1
  fi
  user=$(service_user rabbitmq)
  home=$(make_home rabbitmq "$user")
  rabbitmq_private_stop
  [[ -s $home/password ]] || random_password >"$home/password"
  chmod 600 "$home/password"
  for try in 1 2 3; do
    port=$(free_port "$home/port")
    url="amqp://turnup:$(<"$home/password")@127.0.0.1:$port/%2f"
    rabbitmq_launch "$bin" "$epmd" "$user" "$home" "$port"
    if rabbitmq_await "$url" "$home"; then
      echo "$url"
      return 0
    fi
    rabbitmq_private_stop
    rm -f "$home/port"
  done
  tail -n 20 "$home/server.log" >&2
  say "the private RabbitMQ did not start in $try tries ($home/server.log, $home/log/)"
  return 1
}

# Starts epmd and the broker, each leading a session of its own. An own epmd on an own port keeps the node out of
# the machine's; a node name with an address needs no name resolution.
rabbitmq_launch() { # bin epmd user home amqp-port
  local bin=$1 epmd=$2 user=$3 home=$4 port=$5 epmd_port dist_port
  epmd_port=$(free_port)
  dist_port=$(free_port)
  {
    cat "$root/config/rabbitmq.conf"
    printf 'listeners.tcp.1 = 127.0.0.1:%s\ndefault_user = turnup\ndefault_pass = %s\n' "$port" "$(<"$home/password")"
  } >"$home/rabbitmq.conf"
  : >"$home/rabbitmq-env.conf"
  chmod 600 "$home/rabbitmq.conf"
  chown "$user" "$home/password" "$home/rabbitmq.conf" "$home/rabbitmq-env.conf"
  launch_as "$user" "$home/epmd.pid" "$home/epmd.log" \
    env -i PATH="$PATH" HOME="$home" "$epmd" -port "$epmd_port" -address 127.0.0.1
  launch_as "$user" "$home/server.pid" "$home/server.log" env -i PATH="$PATH" HOME="$home" LANG=C.UTF-8 \
    ERL_EPMD_PORT="$epmd_port" ERL_EPMD_ADDRESS=127.0.0.1 \
    RABBITMQ_CONF_ENV_FILE="$home/rabbitmq-env.conf" RABBITMQ_CONFIG_FILE="$home/rabbitmq.conf" \
    RABBITMQ_ADVANCED_CONFIG_FILE="$home/advanced.config" RABBITMQ_GENERATED_CONFIG_DIR="$home/generated" \
    RABBITMQ_ENABLED_PLUGINS_FILE="$home/enabled_plugins" RABBITMQ_PID_FILE="$home/node.pid" \
    RABBITMQ_MNESIA_BASE="$home/data" RABBITMQ_LOG_BASE="$home/log" \
    RABBITMQ_USE_LONGNAME=true RABBITMQ_NODENAME=turnup@127.0.0.1 RABBITMQ_DIST_PORT="$dist_port" \
    RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS='-kernel inet_dist_use_interface {127,0,0,1}' \
    "$bin/rabbitmq-server"
}

rabbitmq_await() { # url home; within 90 s
  local deadline=$((SECONDS + 90))
  while ((SECONDS < deadline)); do
    amqp_probe "$1" >/dev/null 2>&1 && return 0
    process_alive "$2/server.pid" || return 1
    sleep 0.2
  done
  return 1
}

# The broker's own way out on SIGTERM closes its queues; then whatever is left of the two sessions goes.
rabbitmq_private_stop() {
  end_process "$state/rabbitmq/server.pid" 60
  end_process "$state/rabbitmq/epmd.pid" 5
}

rabbitmq_still() { amqp_probe "$1" >/dev/null 2>&1; }

rabbitmq_compose_url() { # port
  echo "amqp://turnup:${TURNUP_RABBITMQ_PASSWORD:-turnup}@127.0.0.1:$1/%2f"
}
