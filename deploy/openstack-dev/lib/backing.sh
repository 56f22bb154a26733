# shellcheck shell=bash
# The services that OpenStack needs: MariaDB, memcached and RabbitMQ.

SCHEMAS=(keystone placement glance neutron nova nova_api nova_cell0 cinder)

# sql runs a statement and prints its result: sql DATABASE STATEMENT. "" stands for no database.
sql() { mariadb --no-defaults -N -u root -S "$MARIADB_SOCKET" -e "$2" "$1"; }

start_mariadb() {
  once mariadb mariadb-install-db --no-defaults --user=root --datadir="$STATE/mariadb" \
    --auth-root-authentication-method=normal --skip-test-db
  # Only a unix socket, and no protection against a power failure: the data are not worth it.
  start mariadb mariadbd --no-defaults --user=root --datadir="$STATE/mariadb" --socket="$MARIADB_SOCKET" \
    --pid-file="$RUN/mariadb.pid" --skip-networking --skip-log-bin --innodb-flush-log-at-trx-commit=0 \
    --innodb-doublewrite=0 --innodb-buffer-pool-size=256M --max-connections=1000 --character-set-server=utf8mb3 \
    --collation-server=utf8mb3_general_ci
}

create_databases() {
  sql "" "$(printf 'CREATE DATABASE IF NOT EXISTS %s; ' "${SCHEMAS[@]}")"
}

start_memcached() { start memcached memcached -u nobody -l "$ADDRESS" -p 11211 -m 64; }

# rabbitmq_environment exports the variables that the broker and rabbitmqctl share. The node is named after the address,
# so that brokers on several addresses do not find each other. The Erlang cookie is in the state.
rabbitmq_environment() {
  RABBITMQ_LIBRARY=$(ls -d /usr/lib/rabbitmq/lib/rabbitmq_server-*)
  export HOME=$STATE/rabbitmq ERL_EPMD_PORT=$EPMD_PORT ERL_EPMD_ADDRESS=$ADDRESS
  export RABBITMQ_NODENAME=tagger-openstack@$ADDRESS RABBITMQ_USE_LONGNAME=true
  export RABBITMQ_CONF_ENV_FILE=/dev/null RABBITMQ_ENABLED_PLUGINS_FILE=$STATE/rabbitmq/enabled_plugins
}

start_rabbitmq() (
  rabbitmq_environment
  export RABBITMQ_BASE=$STATE/rabbitmq RABBITMQ_MNESIA_BASE=$STATE/rabbitmq/mnesia
  export RABBITMQ_LOG_BASE=$LOG RABBITMQ_LOGS=- RABBITMQ_CONFIG_FILE=$ETC/rabbitmq.conf
  export RABBITMQ_PLUGINS_DIR=$RABBITMQ_LIBRARY/plugins RABBITMQ_DIST_PORT=$DISTRIBUTION_PORT
  export RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS="-kernel inet_dist_use_interface {${ADDRESS//./,}}"
  # The broker would start an epmd that outlives it.
  start epmd epmd -address "$ADDRESS" -port "$EPMD_PORT"
  await epmd 10 listening "$EPMD_PORT"
  # With ALLOW_INPUT, the script execs the broker instead of supervising it, so that SIGTERM reaches the broker.
  RABBITMQ_ALLOW_INPUT=true start rabbitmq "$RABBITMQ_LIBRARY/sbin/rabbitmq-server" -noinput
)
