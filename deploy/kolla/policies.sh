#!/usr/bin/env bash
# Gives Tagger's queues a policy of their own. In RabbitMQ one policy holds for a queue: the one with the highest
# priority that matches its name. Older versions of Kolla Ansible have the policy ha-all for all queues, and clouds often
# have one that lets queues or messages expire; this one goes first, and leaves only what Tagger has set itself. Run it
# where the broker runs, with the name of a virtual host for a cell that has one of its own: policies.sh nova_cell1
set -euo pipefail

vhost=${1:-/}
rabbitmqctl() { "${KOLLA_CONTAINER_ENGINE:-docker}" exec rabbitmq rabbitmqctl "$@"; }

# A policy must define something. This bound is far above what the queues' own bounds in bytes let in.
rabbitmqctl set_policy --vhost "$vhost" --priority 100 --apply-to queues \
  tagger '^tagger(\..*)?$' '{"max-length": 10000000}'
echo "the policy in force for each queue:"
rabbitmqctl list_queues --vhost "$vhost" name policy | grep '^tagger' ||
  echo "there are no queues of Tagger yet; look again when tagger listen has made them"
