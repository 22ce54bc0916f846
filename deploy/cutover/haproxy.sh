#!/bin/sh
# The hook `switch` where applications connect by HAProxy: the backend has both servers, each named HOST-PORT, and the
# one that is gone to is the only one that is ready. Needs socat, and `stats socket … level admin` in haproxy.cfg. Tried
# with HAProxy 2.6.
set -eu
backend=${HAPROXY_BACKEND:-mysql}
tell() {
  answer=$(echo "$1" | socat - "${HAPROXY_SOCKET:-/run/haproxy/admin.sock}")
  [ -z "$answer" ] || { echo "$1: $answer"; exit 1; } # HAProxy answers with nothing where all is well
}
tell "set server $backend/$PYDBSYNC_FROM_HOST-$PYDBSYNC_FROM_PORT state maint"
tell "shutdown sessions server $backend/$PYDBSYNC_FROM_HOST-$PYDBSYNC_FROM_PORT"
tell "set server $backend/$PYDBSYNC_TO_HOST-$PYDBSYNC_TO_PORT state ready"
echo "HAProxy sends to $PYDBSYNC_TO"
