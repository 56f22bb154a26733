#!/bin/sh
set -e
if [ -d /run/systemd/system ]; then
  systemctl daemon-reload
fi
# What the administrator wrote into the configuration, and the audit file, go with "purge", not with "remove".
if [ "$1" = purge ]; then
  rm -rf /etc/tagger /var/lib/private/tagger /var/lib/tagger
fi
