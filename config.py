# The settings of `python mysql_sync.py` and `python binlog_consumer.py`. docs/config.md explains every key.

# target
db_info = {
    "host": "127.0.0.1",
    "port": 3306,
    "user": "pydbsync",
    "password": "dbpass",  # or "password_env": "NAME", or "password_file": "/path"
    "charset": "utf8mb4",
}

# number of this instance; binlog_consumer.py picks its shards by it
db_corpmod = 0

log_file_prefix = "maxwell_%s.log"
log_level = "info"  # info, debug, warn or error

rabbitmq_conn_info = {
    "host": "127.0.0.1",
    "port": 5672,
    "user": "guest",
    "password": "guest",
    "vhost": "/",
}

# One worker process for each queue. Maxwell publishes with the routing key database.table.
rabbitmq_queue_bind = [
    # A queue's name is the name of its checkpoint in the target: another broker or virtual host with queues of these
    # names needs names of its own there, by `stream_names` or another `state_schema`.
    {
        "exchange": ["maxwell.crm" + str(db_corpmod), "topic"],
        "queues": {
            "t1": ["dbtest.t1"],
            "t2_t3": ["dbtest.t2", "dbtest.t3"],
            "mydb": ["mydb.*"],
        },
    },
    # Everything that no key above matches, if the exchange above has this one as its alternate exchange:
    # rabbitmqctl set_policy --apply-to exchanges AE '^maxwell\.crm0$' '{"alternate-exchange": "maxwell.AE"}'
    {
        "exchange": ["maxwell.AE", "topic"],
        "queues": {
            "default": ["*.*"],
        },
    },
]

# Columns whose values Maxwell sends as base64. Those that are binary at the target are known without this.
binary_columns = {
    "mydb1": {
        "t2": ["f_account", "f_password"],
    },
}

# Columns that are TIMESTAMP at the source and DATETIME or text at the target: shifted by timestamp_offset.
timestamp_columns = {
    "dbtest": {
        "t4": ["f_createtime", "f_updatetime"],
    },
}

# Databases that have another name at the target. If set, the direction is rollback, else replay.
dbname_rewrite = {
    # "dbtest0": "dbtest",
    # "dbtest1": "dbtest",
}
