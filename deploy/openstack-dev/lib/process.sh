# shellcheck shell=bash
# Starts, finds and stops background processes. Pid, start time and boot identify a process, so that a pid which the
# kernel has reused is not mistaken for ours. Each service leads a session of its own, in which its workers stay.

STARTED=()            # the services that this run has started

# start_time prints when process $1 started, in clock ticks after boot. It prints nothing if there is none, or a zombie.
start_time() {
  local stat
  { read -r stat <"/proc/$1/stat"; } 2>/dev/null || return 0
  # The command's name, in parentheses, may contain blanks: count the fields after it.
  # shellcheck disable=SC2086
  set -- ${stat##*) }
  case $1 in Z | X) ;; *) echo "${20}" ;; esac
}

# A restarted container still has its host's boot_id, but another first process.
BOOT=$(cat /proc/sys/kernel/random/boot_id 2>/dev/null || true)/$(start_time 1)

# record records process $2 as service $1.
record() { echo "$2 $(start_time "$2") $BOOT" >"$PIDS/$1"; }

# running reports whether the recorded process of service $1 is alive.
running() {
  local pid started boot
  { read -r pid started boot <"$PIDS/$1"; } 2>/dev/null && [ "$boot" = "$BOOT" ] &&
    [ "$(start_time "$pid")" = "$started" ]
}

# start starts service $1 with the command that follows, unless it is running. The process records itself before it
# leaves our process group: if that group is ended at any moment, "down" still finds every process.
start() {
  local name=$1
  shift
  if running "$name"; then return; fi
  rm -f "$RUN/$name.ready" "$PIDS/$name"
  { record "$name" "$BASHPID" && exec setsid "$@"; } >>"$LOG/$name.log" 2>&1 </dev/null 9>&- &
  until [ -s "$PIDS/$name" ] || [ -z "$(start_time $!)" ]; do sleep 0.01; done
  STARTED+=("$name")
}

# await waits until a command succeeds: await SERVICE SECONDS COMMAND... It fails at once if the service has ended.
await() {
  local name=$1 end=$((SECONDS + $2))
  shift 2
  until "$@" >/dev/null 2>&1; do
    running "$name" || { tail -n 8 "$LOG/$name.log" >&2; fail "$name has ended; its log is $LOG/$name.log"; }
    [ $SECONDS -lt $end ] ||
      { tail -n 8 "$LOG/$name.log" >&2; fail "$name does not respond; its log is $LOG/$name.log"; }
    sleep 0.2
  done
}

listening() { (: <"/dev/tcp/$ADDRESS/$1") 2>/dev/null; }
answers() { curl -s -o /dev/null --max-time 5 "http://$ADDRESS:$1/"; }

# members prints the live processes of the session that process $1 leads or led.
members() {
  local pid
  for pid in $(pgrep -s "$1"); do
    if [ -n "$(start_time "$pid")" ]; then echo "$pid"; fi
  done
}

# stop ends service $1 and its workers: stop NAME SECONDS. After that time it sends SIGKILL.
stop() {
  local name=$1 end=$((SECONDS + $2)) pid started boot now
  { read -r pid started boot <"$PIDS/$name"; } 2>/dev/null || return 0
  now=$(start_time "$pid")
  if [ "$boot" != "$BOOT" ] || { [ -n "$now" ] && [ "$now" != "$started" ]; }; then
    rm -f "$PIDS/$name" # the pid, or after a boot the session, belongs to another process
    return 0
  fi
  if [ -n "$now" ]; then kill -TERM "$pid" 2>/dev/null || true; fi
  while running "$name" && [ $SECONDS -lt $end ]; do sleep 0.1; done
  for _ in {1..50}; do
    # shellcheck disable=SC2046
    kill -KILL $(members "$pid") 2>/dev/null || true
    [ -n "$(members "$pid")" ] || break
    sleep 0.1
  done
  [ -z "$(members "$pid")" ] ||
    { echo "openstack: $name does not end: process $pid and its session" >&2; return 1; }
  rm -f "$PIDS/$name" "$RUN/$name.ready"
}

# memory prints the memory of all services in MiB. Shared memory is counted once.
memory() {
  local file pid
  for file in "$PIDS"/*; do
    read -r pid _ <"$file"
    for pid in $(members "$pid"); do cat "/proc/$pid/smaps_rollup" 2>/dev/null || true; done
  done | awk '/^Pss:/ {sum += $2} END {print int(sum / 1024)}'
}
