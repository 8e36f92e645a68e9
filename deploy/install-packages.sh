#!/bin/sh
# Installs what the demo and the tests need from the system's packages: what is missing, and nothing else. It never asks.
#   deploy/install-packages.sh            the demo: Python, Prosody, baresip, libopus, libspandsp
#   deploy/install-packages.sh --tests    also ejabberd, SIPp, linphone, Kamailio, NSD, PostgreSQL, Chromium, Node.js
# For Debian 12 and Ubuntu 24.04, as root or with sudo. On other systems it tells what it misses.
set -eu

missing=""

# need PACKAGE CHECK…: the package is missing when the check fails.
need() {
  package=$1
  shift
  "$@" >/dev/null 2>&1 || missing="$missing $package"
}

has() {
  PATH="$PATH:/usr/sbin:/sbin" command -v "$1"
}

# A program that starts: Ubuntu's chromium package is a stub that only points to a snap.
runs() {
  "$@" --version
}

chromium_runs() {
  for program in ${CHROMIUM:-} chromium chromium-browser google-chrome-stable google-chrome; do
    runs "$program" && return 0
  done
  return 1
}

kamailio_has() {
  ls /usr/lib/*/kamailio/modules/"$1.so"
}

python_makes_environments() {
  python3 -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 11))'
}

ejabberd_is_there() {
  ls /usr/lib/*/ejabberd-*/ebin/ejabberd.app
}

postgresql_is_there() {
  ls /usr/lib/postgresql/*/bin/pg_ctl
}

look() {
  missing=""
  need python3-venv python_makes_environments
  need prosody has prosody
  need baresip-core has baresip
  need libopus0 sh -c 'ldconfig -p | grep -q libopus.so.0'
  need libspandsp2 sh -c 'ldconfig -p | grep -q libspandsp.so.2'
  need util-linux has setpriv
  if [ "$tests" = yes ]; then
    need ejabberd ejabberd_is_there
    need sip-tester has sipp
    need linphone-cli has linphonec
    need kamailio has kamailio
    need kamailio-tls-modules kamailio_has tls
    need kamailio-websocket-modules kamailio_has websocket
    need rtpengine-daemon has rtpengine
    need nsd has nsd
    need postgresql postgresql_is_there
    need nodejs runs node
    need npm runs npm
    chromium_runs >/dev/null 2>&1 || missing="$missing chromium"
  fi
}

as_root() {
  if [ "$(id -u)" = 0 ]; then
    "$@"
  elif command -v sudo >/dev/null; then
    sudo -n "$@" || sudo "$@"
  else
    echo "install-packages: this needs root, and there is no sudo: $*" >&2
    exit 1
  fi
}

# Servers that packages bring would start at once, on the ports of a real one: the demo and the tests start their own.
# A policy that is there already says what it says.
policy=/usr/sbin/policy-rc.d
quiet=no

keep_services_quiet() {
  [ -e "$policy" ] && return
  quiet=yes
  trap let_services_start EXIT
  trap 'exit 130' INT TERM
  printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
  as_root chmod 755 "$policy"
}

let_services_start() {
  [ "$quiet" = no ] || as_root rm -f "$policy"
  quiet=no
}

# What was not started now would be at the next boot.
disable_new_services() {
  [ -d /run/systemd/system ] || return 0
  for service in prosody ejabberd kamailio rtpengine-daemon nsd postgresql; do
    case " $missing " in
    *" $service "*) as_root systemctl disable --quiet "$service" || : ;;
    esac
  done
}

# Ubuntu's Chromium comes as a snap, and its package only asks snapd for it.
install_chromium_snap() {
  echo "Installing Chromium from its snap, as Ubuntu has no package of it"
  command -v snap >/dev/null && as_root snap install chromium && chromium_runs >/dev/null 2>&1 && return
  echo "install-packages: Chromium did not start. Ubuntu has it as a snap only, which needs snapd running." >&2
  echo "Install Google Chrome or any Chromium instead, and name it: CHROMIUM=/path/to/chrome make test" >&2
  exit 1
}

tests=no
[ "${1:-}" = --tests ] && tests=yes
PATH="$PATH:/usr/sbin:/sbin"
look
[ -z "$missing" ] && exit 0

if ! command -v apt-get >/dev/null; then
  echo "install-packages: no apt-get here; please install:$missing" >&2
  exit 1
fi

snap=no
case " $missing " in
*" chromium "*)
  if grep -qi '^ID=ubuntu' /etc/os-release; then
    snap=yes
    missing=$(echo " $missing " | sed 's/ chromium / /')
  fi
  ;;
esac

if [ -n "$(echo "$missing" | tr -d ' ')" ]; then
  echo "Installing$missing"
  # The package lists of a fresh machine or image may be empty or old: they are fetched when a package is not found.
  # shellcheck disable=SC2086
  apt-get install -y --no-install-recommends --simulate $missing >/dev/null 2>&1 || as_root apt-get update -q
  keep_services_quiet
  # shellcheck disable=SC2086
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $missing
  let_services_start
  disable_new_services
fi
[ "$snap" = no ] || install_chromium_snap

look
if [ -n "$missing" ]; then
  echo "install-packages: still missing:$missing" >&2
  exit 1
fi
