#!/bin/sh
set -e
if [ -d /run/systemd/system ]; then
  systemctl daemon-reload
fi
# What the administrator wrote into the configuration goes with "purge", not with "remove".
if [ "$1" = purge ]; then
  rm -rf /etc/tagger
fi
