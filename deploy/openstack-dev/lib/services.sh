# shellcheck shell=bash disable=SC2034
# The OpenStack services, and the ports of all services.

# In the order in which they are stopped.
OPENSTACK=(nova-compute cinder-volume nova-scheduler cinder-scheduler nova-conductor nova-api cinder-api neutron glance
  placement keystone)
BACKING=(rabbitmq epmd memcached mariadb)
declare -A PORTS=([keystone]=5000 [nova-api]=8774 [cinder-api]=8776 [placement]=8778 [glance]=9292 [neutron]=9696
  [rabbitmq]=5672 [memcached]=11211)

# check_ports fails if another process uses a port that a service needs.
check_ports() {
  local name
  for name in "${!PORTS[@]}"; do
    if ! running "$name" && listening "${PORTS[$name]}"; then
      fail "another program uses $ADDRESS:${PORTS[$name]}, which $name needs: stop it, or set" \
        "OPENSTACK_DEV_IP=127.0.0.2 (and OPENSTACK_DEV_STATE)"
    fi
  done
}

# service starts a Python service: service NAME MODULE CONFIGURATION.
service() {
  start "$1" env OPENSTACK_DEV_KNOBS="$KNOBS" OPENSTACK_DEV_READY="$RUN/$1.ready" \
    /usr/bin/python3 "$HERE/service.py" "$2" --config-file "$ETC/$3.conf"
}

# wsgi starts an API under uwsgi: wsgi NAME FILE PROCESSES. uwsgi closes each connection after the response without
# announcing it, so clients that reuse connections would sometimes see a reset. The header announces it.
wsgi() {
  start "$1" uwsgi_python3 --http-socket "$ADDRESS:${PORTS[$1]}" --wsgi-file "$2" --master --need-app --lazy-apps \
    --enable-threads --thunder-lock --processes "$3" --threads 4 --buffer-size 65535 --die-on-term --no-orphans \
    --disable-logging --add-header "Connection: close"
}

start_keystone() { OS_KEYSTONE_CONFIG_FILES=$ETC/keystone.conf wsgi keystone /usr/bin/keystone-wsgi-public "$WORKERS"; }

start_openstack() {
  start_keystone
  OS_PLACEMENT_CONFIG_DIR=$ETC/placement wsgi placement /usr/bin/placement-api 1
  service glance glance.cmd.api glance
  service neutron neutron.cmd.eventlet.server neutron
  service nova-conductor nova.cmd.conductor nova
  service nova-api nova.cmd.api nova
  service cinder-api cinder.cmd.api cinder
  service nova-scheduler nova.cmd.scheduler nova
  service cinder-scheduler cinder.cmd.scheduler cinder
  service cinder-volume cinder.cmd.volume cinder
  await placement 180 answers 8778
  await keystone 180 answers 5000
  service nova-compute nova.cmd.compute nova
}

# The schedulers skip a host that has not reported for 60 s, as after a pause of the stand.
recent="> UTC_TIMESTAMP() - INTERVAL 45 SECOND"
compute_reports() { [ -n "$(sql nova "SELECT 1 FROM services WHERE topic = 'compute' AND last_seen_up $recent")" ]; }
volume_reports() {
  [ -n "$(sql cinder "SELECT 1 FROM services WHERE topic = 'cinder-volume' AND updated_at $recent")" ]
}

await_openstack() {
  local name
  for name in placement glance neutron nova-api cinder-api; do await "$name" 180 answers "${PORTS[$name]}"; done
  for name in nova-conductor nova-scheduler cinder-scheduler cinder-volume nova-compute; do
    await "$name" 180 test -e "$RUN/$name.ready"
  done
  await nova-compute 180 compute_reports
  await cinder-volume 180 volume_reports
}
