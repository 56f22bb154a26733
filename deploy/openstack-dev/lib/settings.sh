# shellcheck shell=bash disable=SC2034
# Settings of all scripts: the directory of the state, the address of the services, the lifetime of tokens.

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
STATE=${OPENSTACK_DEV_STATE:-${XDG_STATE_HOME:-$HOME/.local/state}/tagger-openstack}
case $STATE in /*) ;; *) STATE=$PWD/$STATE ;; esac

ETC=$STATE/etc        # rendered configuration
LOG=$STATE/log
PIDS=$STATE/pids      # a file for each service: pid, start time and boot
RUN=$STATE/run        # sockets, and a file NAME.ready for each service that reports when it is ready
KNOBS=$STATE/knobs
DONE=$STATE/done      # a file for each step that runs once for a state

# The address is a part of the state, because Keystone's service catalog contains it.
RECORDED_ADDRESS=$(cat "$STATE/address" 2>/dev/null || true)
ADDRESS=${OPENSTACK_DEV_IP:-${RECORDED_ADDRESS:-127.0.0.1}}
WORKERS=${OPENSTACK_DEV_WORKERS:-2}
TOKEN_TTL=${OPENSTACK_DEV_TOKEN_TTL:-3600}
PASSWORD=devsecret    # of every user; not secret, because all services listen on loopback

KEYSTONE_URL=http://$ADDRESS:5000/v3
AMQP_URL=amqp://openstack:$PASSWORD@$ADDRESS:5672/
MARIADB_SOCKET=$RUN/mariadb.sock

# epmd always binds 127.0.0.1 too, and RabbitMQ does not start if its port for Erlang's distribution is in use on any
# address. So each address has two ports of its own: 24369 and 25369 for 127.0.0.1, 24370 and 25370 for 127.0.0.2.
epmd_port() {
  local a b c d
  IFS=. read -r a b c d <<<"$ADDRESS"
  echo $((24369 + (b * 65536 + c * 256 + d - 1) % 1000))
}

fail() {
  echo "openstack: $*" >&2
  exit 1
}

# say prints one line of progress, with the seconds since the script began.
say() { printf '%5d s  %s\n' "$SECONDS" "$*"; }

check_settings() {
  [[ $ADDRESS =~ ^127\.[0-9]+\.[0-9]+\.[0-9]+$ ]] ||
    fail "OPENSTACK_DEV_IP must be a loopback address such as 127.0.0.2, not \"$ADDRESS\""
  [[ $STATE =~ ^[A-Za-z0-9/._-]+$ ]] ||
    fail "OPENSTACK_DEV_STATE must consist of letters, digits and / . _ -, not \"$STATE\""
  [ ${#MARIADB_SOCKET} -lt 100 ] || fail "OPENSTACK_DEV_STATE is too long for a unix socket in it: $STATE"
  [[ $WORKERS =~ ^[1-9][0-9]*$ ]] || fail "OPENSTACK_DEV_WORKERS must be a number of processes, not \"$WORKERS\""
  [[ $TOKEN_TTL =~ ^[1-9][0-9]*$ ]] || fail "OPENSTACK_DEV_TOKEN_TTL must be a number of seconds, not \"$TOKEN_TTL\""
  EPMD_PORT=${OPENSTACK_DEV_EPMD_PORT:-$(epmd_port)}
  DISTRIBUTION_PORT=$((EPMD_PORT + 1000))
  if [ -n "$RECORDED_ADDRESS" ] && [ "$RECORDED_ADDRESS" != "$ADDRESS" ]; then
    fail "$STATE is for $RECORDED_ADDRESS, not $ADDRESS: set another OPENSTACK_DEV_STATE, or remove it with" \
      "WIPE=1 down"
  fi
}

# make_state creates the state directory. It fails if the directory has other files, because WIPE=1 removes it.
make_state() {
  if [ -z "$RECORDED_ADDRESS" ] && [ -n "$(ls -A "$STATE" 2>/dev/null)" ]; then
    fail "$STATE is not empty, and \"up\" did not create it: set another OPENSTACK_DEV_STATE, or empty it"
  fi
  mkdir -p "$STATE"
  echo "$ADDRESS" >"$STATE/address"
}
