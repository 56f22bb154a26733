#!/bin/sh
# Stops the service on removal. dpkg calls it with "remove" or "upgrade", rpm with 0 or 1.
set -e
case "$1" in
  remove | 0)
    if [ -d /run/systemd/system ]; then
      systemctl --now disable tagger-listen.service
    fi
    ;;
esac
