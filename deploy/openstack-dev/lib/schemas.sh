# shellcheck shell=bash
# Steps that run once for a state: database schemas, Keystone's first user and keys, Nova's cells.

# once runs a step whose success is recorded: once NAME COMMAND... Its output goes to a log.
once() {
  local name=$1 began=$SECONDS
  shift
  if [ -e "$DONE/$name" ]; then return; fi
  "$@" >>"$LOG/once-$name.log" 2>&1 9>&- ||
    { tail -n 8 "$LOG/once-$name.log" >&2; fail "$name: setup failed; the log is $LOG/once-$name.log"; }
  touch "$DONE/$name"
  say "$name: set up in $((SECONDS - began)) s"
}

# manage runs the management command of an OpenStack project: manage MODULE CONFIGURATION ARGUMENT...
manage() { /usr/bin/python3 "$HERE/service.py" "$1" --config-file "$ETC/$2.conf" "${@:3}"; }

setup_keystone() {
  local tool=(keystone-manage --config-file "$ETC/keystone.conf")
  mkdir -p "$STATE/keystone/fernet-keys" "$STATE/keystone/credential-keys" &&
    "${tool[@]}" db_sync &&
    "${tool[@]}" fernet_setup --keystone-user root --keystone-group root &&
    "${tool[@]}" credential_setup --keystone-user root --keystone-group root &&
    "${tool[@]}" bootstrap --bootstrap-password "$PASSWORD" --bootstrap-region-id RegionOne \
      --bootstrap-admin-url "$KEYSTONE_URL" --bootstrap-internal-url "$KEYSTONE_URL" \
      --bootstrap-public-url "$KEYSTONE_URL"
}
setup_placement() { placement-manage --config-file "$ETC/placement/placement.conf" db sync; }
setup_glance() { manage glance.cmd.manage glance db_sync; }
setup_neutron() { manage neutron.db.migration.cli neutron upgrade heads; }
setup_cinder() { manage cinder.cmd.manage cinder db sync; }
setup_nova() {
  manage nova.cmd.manage nova api_db sync &&
    manage nova.cmd.manage nova cell_v2 map_cell0 \
      --database_connection "mysql+pymysql://root@localhost/nova_cell0?unix_socket=$MARIADB_SOCKET&charset=utf8" &&
    { [ -n "$(sql nova_api 'SELECT 1 FROM cell_mappings WHERE name = "cell1"')" ] ||
      manage nova.cmd.manage nova cell_v2 create_cell --name cell1; } &&
    manage nova.cmd.manage nova db sync
}

# populate creates the objects of Keystone, Nova and Glance: populate identity, then populate resources.
populate() { /usr/bin/python3 "$HERE/populate.py" "$1" "$STATE" "$KEYSTONE_URL" "$PASSWORD" "$AMQP_URL"; }

setup_identity() {
  once keystone setup_keystone
  start_keystone
  await keystone 180 answers 5000
  once identity populate identity
}

# Migrations are slow and use one core per database, so there are two lanes of about the same length.
LANES=()
setup_schemas() {
  { setup_identity; once placement setup_placement; once cinder setup_cinder; } &
  LANES+=($!)
  { once neutron setup_neutron; once nova setup_nova; once glance setup_glance; } &
  LANES+=($!)
  wait "${LANES[0]}"
  wait "${LANES[1]}"
  LANES=()
}
