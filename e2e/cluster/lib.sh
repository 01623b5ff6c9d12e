# Names and helpers that the scripts of the local cluster share; sourced, never run.
# shellcheck shell=bash
# shellcheck disable=SC2034  # most of these names are used by the scripts that source this file

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
clone=$(cd "$here/../.." && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/diffusion-operator

# The version of Kubernetes is said once, in kube/go.mod.
kube_version=$(awk '$1 == "k8s.io/kubernetes" {print $2}' "$here/kube/go.mod")
bin=$cache/kube/$kube_version/bin
images=$cache/cluster/images

# Small things of a running cluster: keys, pids, what must be put back. Big things (images, logs, volumes) are in $disk.
run=/run/diffusion-operator-cluster
disk=$cache/cluster/machines
# The administrator's; `up` gives every clone that asks a copy.
admin=$run/admin.kubeconfig
kubeconfig=$clone/e2e/kubeconfig

# Every cgroup of the cluster is below this one, in each controller; its one interface on the host has this name.
cgroup=diffusion-operator-cluster
host_interface=dop-cluster

pod_range=10.244.0.0/16      # node N has 10.244.N.0/24
service_range=10.96.0.0/16
dns_address=10.96.0.10
max_nodes=4

# The network that the machines and the host share, and the nodes' limits (bytes, cores; empty: none); set by load_network.
network_prefix='' control_address='' host_address='' load_balancer_range='' node_cpus='' node_memory=''
# shellcheck source=/dev/null
load_network() { . "$1" 2>/dev/null || die "no cluster is running: make cluster-up"; }

kubectl() { "$bin/kubectl" --kubeconfig "$admin" "$@"; }

say() { echo "== cluster: $*"; }
die() { echo "error: $*" >&2; exit 1; }

# wait_for SECONDS WHAT COMMAND...: until COMMAND succeeds; else ends with what was waited for.
wait_for() {
  local seconds=$1 what=$2 end
  shift 2
  end=$((SECONDS + seconds))
  until "$@" >/dev/null 2>&1; do
    [ $SECONDS -lt $end ] || die "$what: not after $seconds s; look at $disk/*/log"
    sleep 0.2
  done
}

# image_name PROGRAM: the name of the image of one of the cluster's own pods
image_name() { echo "diffusion-operator.dev/cluster/$1:e2e"; }

# Controllers of cgroup v1 and the named hierarchies beside them.
controllers() { ls -1 /sys/fs/cgroup; }

# processes_of MACHINE: every process in its cgroups; MACHINE empty: of the whole cluster.
processes_of() {
  local directory=/sys/fs/cgroup/pids/$cgroup${1:+/$1}
  [ -d "$directory" ] || return 0
  find "$directory" -name cgroup.procs -exec cat {} + 2>/dev/null || true
}

# first_process MACHINE: its first process as the host counts, if it runs. A number that was given to another process since is
# not in the machine's cgroup.
first_process() {
  local pid
  pid=$(cat "$run/machines/$1/pid" 2>/dev/null) || return 1
  grep -q ":/$cgroup/$1\$" "/proc/$pid/cgroup" 2>/dev/null || return 1
  echo "$pid"
}

# enter_cgroups MACHINE: moves this shell (and so what it starts) into the machine's cgroups.
enter_cgroups() {
  local controller
  for controller in $(controllers); do
    echo $BASHPID >"/sys/fs/cgroup/$controller/$cgroup/$1/cgroup.procs" ||
      die "cannot enter the cgroup $cgroup/$1 of $controller"
  done
}

# remove_cgroups MACHINE: kills what is in them and removes them; the whole cluster's without MACHINE.
remove_cgroups() {
  local controller directory pid end=$((SECONDS + 30))
  while :; do
    # A frozen process does not die.
    find "/sys/fs/cgroup/freezer/$cgroup${1:+/$1}" -name freezer.state -exec sh -c 'echo THAWED >"$1"' - {} \; 2>/dev/null || true
    for pid in $(processes_of "${1:-}"); do kill -KILL "$pid" 2>/dev/null || true; done
    local left=
    for controller in $(controllers); do
      directory=/sys/fs/cgroup/$controller/$cgroup${1:+/$1}
      [ -d "$directory" ] || continue
      find "$directory" -depth -type d -exec rmdir {} + 2>/dev/null || true
      [ ! -d "$directory" ] || left+=" $directory"
    done
    [ -n "$left" ] || return 0
    [ $SECONDS -lt $end ] || die "cannot remove$left; a process there does not die: $(processes_of "${1:-}" | xargs)"
    sleep 0.1
  done
}

# node_names: the nodes that were started, running or not.
node_names() { (cd "$run/machines" 2>/dev/null && ls -1d node* 2>/dev/null) || true; }

# Only one script starts or ends the cluster at a time.
lock() {
  mkdir -p "$cache/cluster"
  exec 8>"$cache/cluster/lock"
  flock -w 600 8 || die "another cluster-up or cluster-down has been running for ten minutes"
}

# Settings of the whole machine that kubelet changes, or that are too small for a few dozen containers.
settings=(vm.overcommit_memory vm.panic_on_oom kernel.panic kernel.panic_on_oops kernel.keys.root_maxkeys
  kernel.keys.root_maxbytes fs.inotify.max_user_instances fs.inotify.max_user_watches)

save_settings() {
  [ -e "$run/settings" ] || sysctl "${settings[@]}" >"$run/settings.new" 2>/dev/null || true
  [ -e "$run/settings" ] || mv "$run/settings.new" "$run/settings"
  [ "$(sysctl -n fs.inotify.max_user_instances)" -ge 1024 ] || sysctl -qw fs.inotify.max_user_instances=1024
}

restore_settings() { [ ! -e "$run/settings" ] || sysctl -qp "$run/settings" 2>/dev/null || true; }
