#!/bin/sh
set -e
if [ -d /run/systemd/system ]; then
  systemctl daemon-reload
fi
# "purge" deletes the configuration and the audit file; "remove" keeps them.
if [ "$1" = purge ]; then
  rm -rf /etc/tagger /var/lib/private/tagger /var/lib/tagger
fi
