# shellcheck shell=bash
# Renders etc/ of this directory into the state.

render() { # NAME TARGET: common.conf and NAME.conf become one file, because placement reads only one
  cat "$HERE/etc/common.conf" "$HERE/etc/$1.conf" | fill >"$ETC/$2"
}

fill() {
  sed -e "/^@ACCOUNT@\$/ {r $HERE/etc/account.conf" -e 'd}' |
    sed -e "s|@ADDRESS@|$ADDRESS|g" -e "s|@STATE@|$STATE|g" -e "s|@PASSWORD@|$PASSWORD|g" -e "s|@WORKERS@|$WORKERS|g" \
      -e "s|@TOKEN_TTL@|$TOKEN_TTL|g" -e "s|@KEYSTONE_URL@|$KEYSTONE_URL|g" -e "s|@MARIADB_SOCKET@|$MARIADB_SOCKET|g"
}

render_configuration() {
  local name
  mkdir -p "$ETC/placement"
  for name in keystone glance neutron nova cinder; do render $name $name.conf; done
  render placement placement/placement.conf
  for name in nova cinder glance neutron; do cp "$HERE/etc/$name-api-paste.ini" "$ETC/"; done
  cp "$HERE/etc/cinder-resource-filters.json" "$ETC/"
  for name in rabbitmq.conf rabbitmq-definitions.json; do fill <"$HERE/etc/$name" >"$ETC/$name"; done
}
