#!/bin/sh
# The service is neither enabled nor started: it needs a broker and credentials first. An upgrade
# restarts it if it runs.
set -e
if [ -d /run/systemd/system ]; then
  systemctl daemon-reload
  systemctl try-restart tagger-listen.service
fi
