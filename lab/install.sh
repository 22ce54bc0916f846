#!/bin/sh
# Installs what is missing for the virtual environment (`install.sh python`), the lab's servers (`install.sh servers`)
# or the tests of monitoring, deployment and the web page (`install.sh monitoring`) with apt-get. Services are not
# started, and none is set to start with the machine; a server that is installed or running stays as it is.
set -eu

PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
PYTHON=${PYTHON:-python3}
POLICY=/usr/sbin/policy-rc.d
SAVED=$POLICY.before-pydbsync
MARK='# written by pydbsync/lab/install.sh'

fail() {
  echo "lab: $*" >&2
  exit 1
}

have() { command -v "$1" >/dev/null 2>&1; }

python_works() { "$PYTHON" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; }

# What the given part lacks, as words for people_need and packages_for.
missing() {
  case $1 in
    python)
      python_works || echo python ;;
    servers)
      { have mariadbd || have mysqld && have mariadb-install-db; } && have my_print_defaults || echo mariadb
      { [ -x /usr/lib/rabbitmq/bin/rabbitmq-server ] || have rabbitmq-server; } && have epmd || echo rabbitmq
      have redis-server || have valkey-server || echo redis
      have pt-online-schema-change || echo percona-toolkit ;;
    monitoring)
      { have prometheus && have promtool; } || echo prometheus
      have prometheus-alertmanager || have alertmanager || echo alertmanager
      have chromium-headless-shell || have chromium || have chromium-browser || have google-chrome || echo chromium
      have logrotate || echo logrotate
      have systemd-analyze || echo systemd ;;
    *)
      fail "usage: install.sh python|servers|monitoring" ;;
  esac
}

exists() { apt-cache show "$1" >/dev/null 2>&1; }

# The bare programs where the distribution has them apart from the service (with a version in the name on Ubuntu 22.04).
mariadb_packages() {
  for version in '' -11.8 -11.4 -10.11 -10.6; do
    if exists "mariadb-server-core$version"; then
      echo "mariadb-server-core$version mariadb-client-core$version"
      return
    fi
  done
  echo mariadb-server
}

packages_for() {
  case $1 in
    python) echo python3 python3-venv ;;
    mariadb) mariadb_packages ;;
    rabbitmq) echo rabbitmq-server ;;
    percona-toolkit) echo percona-toolkit ;;
    prometheus) echo prometheus ;;
    alertmanager) echo prometheus-alertmanager ;;
    chromium)
      if exists chromium-headless-shell; then echo chromium-headless-shell; else echo chromium; fi
      echo fonts-dejavu-core ;;
    logrotate | systemd) echo "$1" ;;
    redis) if exists redis-server; then echo redis-server; else echo valkey-server; fi ;;
  esac
}

# Debian starts a service when its package is installed, unless this program forbids it with 101.
forbid_services() {
  restore_services
  trap restore_services EXIT
  trap 'exit 1' HUP INT TERM
  if [ -e "$POLICY" ] || [ -L "$POLICY" ]; then mv "$POLICY" "$SAVED"; fi
  printf '#!/bin/sh\n%s\nexit 101\n' "$MARK" >"$POLICY"
  chmod 755 "$POLICY"
}

# Also what an earlier run left that was killed.
restore_services() {
  if [ -e "$SAVED" ] || [ -L "$SAVED" ]; then
    mv -f "$SAVED" "$POLICY"
  elif grep -qsF "$MARK" "$POLICY"; then
    rm -f "$POLICY"
  fi
}

# apt-get's many lines are shown only when it fails.
quietly() {
  output=$(mktemp)
  if ! "$@" >"$output" 2>&1; then
    cat "$output" >&2
    rm -f "$output"
    return 1
  fi
  rm -f "$output"
}

# The part that runs as root.
install_packages() {
  export DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1
  had_epmd=$(command -v epmd || true)
  echo "lab: installing $* with apt-get, this takes a minute (no service is started)"
  quietly apt-get update || echo "lab: apt-get update failed; trying with the package lists that are there" >&2
  packages=
  for word in "$@"; do packages="$packages $(packages_for "$word")"; done
  forbid_services
  # --no-remove: another MySQL on this machine is never pushed out
  # shellcheck disable=SC2086
  quietly apt-get install -y --no-install-recommends --no-remove --no-upgrade $packages ||
    fail "apt-get could not install$packages (its reason is above); install them by hand and try again."
  have systemctl || return 0
  for word in "$@"; do
    case $word in
      rabbitmq)
        systemctl --quiet disable rabbitmq-server.service || true
        [ -n "$had_epmd" ] || systemctl --quiet disable epmd.service epmd.socket || true ;;
      prometheus)
        systemctl --quiet disable prometheus.service || true ;;
      alertmanager)
        systemctl --quiet disable prometheus-alertmanager.service || true ;;
    esac
  done
}

if [ "${1:-}" = --as-root ]; then
  shift
  install_packages "$@"
  exit
fi

words=$(missing "${1:-}")
[ -n "$words" ] || exit 0
have apt-get || fail "not installed here:" $words"; install them with this system's package manager (Python 3.10 or newer with venv," \
  "MariaDB server, RabbitMQ server, Prometheus and its Alertmanager). They need not run as services."
# shellcheck disable=SC2086
if [ "$(id -u)" = 0 ]; then
  sh "$0" --as-root $words
elif have sudo; then
  sudo sh "$0" --as-root $words || fail "the packages for" $words "were not installed."
else
  fail "not installed here:" $words"; run this once as root, or install sudo."
fi
still=$(missing "$1")
[ -z "$still" ] || fail "still missing after the installation:" $still"; Python must be 3.10 or newer (choose one with: make PYTHON=/path/to/python3)."
