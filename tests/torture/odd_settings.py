"""Settings that an operator may have given a server for all sessions: no answer of the tools may depend on them."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pymysql

from tests.servers import Endpoint

ODD: tuple[tuple[str, object], ...] = (
    ("autocommit", 0), ("big_tables", 1), ("completion_type", 1), ("div_precision_increment", 0),
    ("eq_range_index_dive_limit", 1), ("foreign_key_checks", 0), ("group_concat_max_len", 4),
    ("in_predicate_conversion_threshold", 2), ("innodb_lock_wait_timeout", 1), ("join_buffer_size", 128),
    ("lock_wait_timeout", 1), ("low_priority_updates", 1), ("max_error_count", 0), ("max_heap_table_size", 16384),
    ("max_join_size", 1), ("max_length_for_sort_data", 4), ("max_sort_length", 8), ("max_execution_time", 1),
    ("max_statement_time", 0.01), ("max_sort_length", 64), ("net_buffer_length", 1024), ("old_mode", ""),
    ("optimizer_prune_level", 0), ("optimizer_search_depth", 1), ("range_optimizer_max_mem_size", 1),
    ("range_optimizer_max_mem_size", 2000), ("sort_buffer_size", 32768), ("sql_auto_is_null", 1),
    ("sql_big_selects", 0), ("sql_notes", 0), ("sql_require_primary_key", 1), ("sql_safe_updates", 1),
    ("sql_select_limit", 1), ("sql_quote_show_create", 0), ("system_versioning_asof", "2001-01-01"),
    ("time_zone", "+05:30"), ("tmp_table_size", 1024), ("transaction_isolation", "SERIALIZABLE"),
    ("transaction_isolation", "READ-UNCOMMITTED"), ("tx_isolation", "SERIALIZABLE"),
    ("unique_checks", 0), ("character_set_server", "ucs2"), ("collation_server", "utf8mb4_bin"),
    ("explicit_defaults_for_timestamp", 0), ("default_week_format", 3), ("lc_time_names", "de_DE"),
    ("expensive_subquery_limit", 0), ("query_cache_size", 1048576), ("join_cache_level", 0),
    ("sql_mode", "ANSI_QUOTES,NO_BACKSLASH_ESCAPES,PIPES_AS_CONCAT,REAL_AS_FLOAT,IGNORE_SPACE,HIGH_NOT_PRECEDENCE"),
    ("sql_mode", "PAD_CHAR_TO_FULL_LENGTH,ONLY_FULL_GROUP_BY,NO_UNSIGNED_SUBTRACTION,TRADITIONAL"),
    ("sql_mode", "ORACLE"), ("sql_mode", "NO_ZERO_DATE,NO_ZERO_IN_DATE,STRICT_ALL_TABLES,ERROR_FOR_DIVISION_BY_ZERO"),
    ("sql_mode", "TIME_TRUNCATE_FRACTIONAL"), ("sql_mode", "SIMULTANEOUS_ASSIGNMENT,EMPTY_STRING_IS_NULL"),
    ("optimizer_switch", "index_merge=off,mrr=on,mrr_cost_based=off,condition_fanout_filter=off"),
    ("optimizer_switch", "index_merge=off,mrr=on,mrr_cost_based=off,rowid_filter=off,split_materialized=off"),
    ("optimizer_switch", "derived_merge=off,materialization=off,semijoin=off,firstmatch=off,loosescan=off"),
    ("sql_if_exists", 1), ("alter_algorithm", "COPY"), ("use_stat_tables", "NEVER"),
    ("temptable_max_ram", 2097152), ("internal_tmp_mem_storage_engine", "MEMORY"), ("show_old_temporals", 1),
    ("show_gipk_in_create_table_and_information_schema", 0), ("default_collation_for_utf8mb4", "utf8mb4_general_ci"),
)  # fmt: skip
"""Each is tried where the server knows it."""


@contextmanager
def odd_settings(chance: random.Random, *servers: Endpoint) -> Iterator[list[str]]:
    """A few of them at each of these servers, for new sessions; gives which."""
    told: list[str] = []
    with ExitStack() as stack:
        for server in servers:
            for name, value in chance.sample(ODD, chance.choice([0, 2, 5])):
                with server.connect() as connection, connection.cursor() as cursor:
                    try:
                        cursor.execute(f"SELECT @@GLOBAL.{name}")
                        ((before,),) = cursor.fetchall()
                        cursor.execute(f"SET GLOBAL {name} = %s", (value,))
                    except pymysql.MySQLError:
                        continue  # this server, or this version, does not know it
                stack.callback(_put_back, server, name, before)
                told.append(f"{server.port} {name}={value}")
        yield told


def _put_back(server: Endpoint, name: str, value: object) -> None:
    with server.connect() as connection, connection.cursor() as cursor:
        if value == "DEFAULT":  # which system_versioning_asof has, and does not take as a text
            cursor.execute(f"SET GLOBAL {name} = DEFAULT")
        else:
            cursor.execute(f"SET GLOBAL {name} = %s", (value,))
