# What the first process of every machine does; sourced by machine-control and machine-node.
# shellcheck shell=bash

# keep PROGRAM ARGUMENTS...: runs it, its output in a log of its name, and starts it again whenever it ends.
keep() {
  (
    trap - TERM
    log=/var/log/$1.log
    while :; do
      "$@" >>"$log" 2>&1 </dev/null || true
      echo "-- $1 ended; it is started again" >>"$log"
      sleep 1
    done
  ) &
}

# Tells the host that this machine is set up, and stays: orphans are this process's to reap, the machine ends with it.
stay() {
  echo up >/opt/cluster/state/up
  trap 'exit 0' TERM
  set +e
  while :; do wait -n || sleep 1; done
}
