#!/bin/sh
# The hook `switch` where applications connect by ProxySQL: both servers stand in mysql_servers of the host group, and
# the one that is gone to gets all connections. The password comes from PROXYSQL_PASSWORD, which mysql reads as MYSQL_PWD.
set -eu
MYSQL_PWD=$PROXYSQL_PASSWORD mysql -h "${PROXYSQL_HOST:-127.0.0.1}" -P "${PROXYSQL_PORT:-6032}" -u "${PROXYSQL_USER:-admin}" -e "
UPDATE mysql_servers SET status = 'OFFLINE_HARD'
 WHERE hostgroup_id = ${PROXYSQL_HOSTGROUP:-10} AND hostname = '$PYDBSYNC_FROM_HOST' AND port = $PYDBSYNC_FROM_PORT;
UPDATE mysql_servers SET status = 'ONLINE'
 WHERE hostgroup_id = ${PROXYSQL_HOSTGROUP:-10} AND hostname = '$PYDBSYNC_TO_HOST' AND port = $PYDBSYNC_TO_PORT;
LOAD MYSQL SERVERS TO RUNTIME;
SAVE MYSQL SERVERS TO DISK;"
echo "ProxySQL sends to $PYDBSYNC_TO"
