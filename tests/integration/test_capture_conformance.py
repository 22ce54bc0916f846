"""Every recorded case, run on a real source and captured, gives the messages of a real Maxwell.

Where it does not, Maxwell is wrong: DEVIATIONS is the whole list, with the reasons.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import pymysql
import pytest

from tests.corpus import Case, cases, lossy_cases
from tests.integration.captured import Capture, comparable
from tests.servers import Endpoint


@dataclass(frozen=True)
class Deviation:
    """How the messages of one case differ, and why Maxwell's are wrong."""

    reason: str
    instead: tuple[tuple[str, str], ...] = ()
    """Parts of Maxwell's messages and what stands there; each is exchanged wherever it stands."""
    rows: tuple[str, ...] = ()
    """From `"data"` on, all row messages of the case in order, where most of them differ."""
    more: tuple[str, ...] = field(default=())
    """Statements that Maxwell is silent about."""


_SINGLE_PRECISION = Deviation(
    "Java before 19 prints some numbers with a digit too many (JDK-4511638); both are the same FLOAT",
    (("1.17549435E-38", "1.1754944E-38"),),
)
_ZEROFILL = Deviation(
    "ZEROFILL makes a column unsigned: Maxwell would print values from 2147483648 on as negative",
    (('{"type":"int","name":"w","signed":true}', '{"type":"int","name":"w","signed":false}'),),
)
_CONVERTED = Deviation(
    "CONVERT TO CHARACTER SET changes the table's default too: Maxwell reads columns added later in the wrong set",
    (
        (
            '"def":{"database":"c_alter","charset":"utf8mb4","table":"t","primary-key":["id","a"],"columns":['
            '{"type":"varchar","name":"bbb","charset":"latin1"}',
            '"def":{"database":"c_alter","charset":"latin1","table":"t","primary-key":["id","a"],"columns":['
            '{"type":"varchar","name":"bbb","charset":"latin1"}',
        ),
        (
            '"old":{"database":"c_alter","charset":"utf8mb4","table":"t","primary-key":["id","a"],"columns":['
            '{"type":"varchar","name":"bbb","charset":"latin1"}',
            '"old":{"database":"c_alter","charset":"latin1","table":"t","primary-key":["id","a"],"columns":['
            '{"type":"varchar","name":"bbb","charset":"latin1"}',
        ),
        ('{"type":"text","name":"m2","charset":"utf8mb4"}', '{"type":"text","name":"m2","charset":"latin1"}'),
    ),
)
_BITS = Deviation(
    "Maxwell shifts bytes past the fourth as 32-bit numbers",
    rows=(
        '"data":{"id":1,"b32":2147483648,"b33":4294967296,"b40":4294967297,"b63":4611686018427387904,'
        '"b64":9223372036854775807}}',
        '"data":{"id":2,"b32":4294967295,"b33":8589934591,"b40":1099511627775,"b63":9223372036854775807,'
        '"b64":9223372036854775808}}',
        '"data":{"id":3,"b32":2147483647,"b33":1,"b40":2147483648,"b63":4294967297,"b64":18446744073709551615}}',
        '"data":{"id":1,"b32":2147483648,"b33":4294967296,"b40":4294967296,"b63":4611686018427387904,'
        '"b64":9223372036854775807},"old":{"b40":4294967297}}',
    ),
)
_TIMES = Deviation(
    "Maxwell reads TIME as a time of day",
    rows=(
        '"data":{"id":1,"t0":"24:00:00","t3":"24:00:00.000","t6":"24:00:00.000000"}}',
        '"data":{"id":2,"t0":"25:00:00","t3":"100:00:00.001","t6":"838:59:58.999999"}}',
        '"data":{"id":3,"t0":"838:59:59","t3":"838:59:59.000","t6":"838:59:59.000000"}}',
        '"data":{"id":4,"t0":"-00:00:01","t3":"-00:00:00.500","t6":"-00:00:00.000001"}}',
        '"data":{"id":5,"t0":"-01:00:00","t3":"-12:34:56.789","t6":"-25:00:00.500000"}}',
        '"data":{"id":6,"t0":"-838:59:59","t3":"-838:59:59.000","t6":"-838:59:59.000000"}}',
        '"data":{"id":2,"t0":"48:00:00","t3":"100:00:00.001","t6":"838:59:58.999999"},"old":{"t0":"25:00:00"}}',
    ),
)
_DATES = Deviation(
    "Maxwell has no place for dates with zeros in them, days that no calendar has, and the year 0",
    rows=(
        '"data":{"id":1,"d":"2024-00-00","dt":"2024-00-00 00:00:00.000","y":2024}}',
        '"data":{"id":2,"d":"2024-05-00","dt":"2024-05-00 12:00:00.000","y":2024}}',
        '"data":{"id":3,"d":"0000-05-05","dt":"0000-05-05 00:00:00.000","y":2024}}',
        '"data":{"id":4,"d":"2024-02-31","dt":"2023-02-29 00:00:00.000","y":2024}}',
        '"data":{"id":5,"d":"1582-10-10","dt":"1582-10-05 01:02:03.000","y":2024}}',
        '"data":{"id":6,"d":"0001-01-01","dt":"0001-01-01 00:00:00.000","y":0}}',
        '"data":{"id":7,"d":"2024-01-01","dt":"2024-01-01 00:00:00.000","y":0}}',
        '"data":{"id":2,"d":"2024-06-00","dt":"2024-05-00 12:00:00.000","y":2024},"old":{"d":"2024-05-00"}}',
    ),
)
_LATIN1 = Deviation(
    "Maxwell reads latin1 as Java's windows-1252, which has five gaps, and sjis by Java's table; a server stores "
    "what it prints for 0x815F as a question mark",
    (
        ('"v":"\ufffd\ufffd\ufffd\ufffd\ufffd"', '"v":"\x81\x8d\x8f\x90\x9d"'),
        ('"v":"a\ufffdb€"', '"v":"a\x81b€"'),
        ('"v":"\ufffd","a":"z"},"old":{"v":"€"}', '"v":"\x8d","a":"z"},"old":{"v":"€"}'),
        ('"v":"＼"', '"v":"\\\\"'),
    ),
)
_LABELS = Deviation(
    "Maxwell keeps labels as the statement spells them, and prints the error value '' as null",
    (
        (
            '"enum-values":["it\'\'s","dou\\"ble","back\\\\\\\\slash","plain"]',
            '"enum-values":["it\'s","dou\\"ble","back\\\\slash","plain"]',
        ),
        ('"enum-values":["a\'\'b","c"]', '"enum-values":["a\'b","c"]'),
        ('"enum-values":["pad ","n"]', '"enum-values":["pad","n"]'),
        ('"q":"it\'\'s","s":["a\'\'b"],"bad":"x","pad":"pad "', '"q":"it\'s","s":["a\'b"],"bad":"x","pad":"pad"'),
        ('"q":"back\\\\\\\\slash","s":[],"bad":null', '"q":"back\\\\slash","s":[],"bad":""'),
        ('"q":"plain","s":null,"bad":null', '"q":"plain","s":null,"bad":""'),
    ),
)
_DOCUMENTS = Deviation(
    "Inside JSON Maxwell turns large DOUBLEs into integers, shortens fractions of seconds, and leaves out what tells "
    "binary values from text",
    (
        ('"data":{"id":3,"v":10000000}', '"data":{"id":3,"v":10000000.0}'),
        (f"[1.0,100.0,{int(1e20)},{int(1.5e300)},-0.0]", "[1.0,100.0,1e+20,1.5e+300,-0.0]"),
        ('{"d":12345678901234567168}', '{"d":1.2345678901234567e+19}'),
        (
            '{"dt":"2024-01-01 01:02:03.5","date":"2024-01-01","time":"12:00:00"}',
            '{"dt":"2024-01-01 01:02:03.500000","date":"2024-01-01","time":"12:00:00.000000"}',
        ),
        ('["AP8=","BQ=="]', '["base64:type15:AP8=","base64:type15:BQ=="]'),
    ),
)
_SMALL_DOUBLE = Deviation(
    "Inside JSON Maxwell prints small DOUBLEs with all digits of the binary value; where JSON is text, as in MariaDB, "
    "that is another document",
    (("0.000000124999999999999994343513978235782335701742340461350977420806884765625", "1.25e-07"),),
)
_TRUNCATE = Deviation("Maxwell is silent about TRUNCATE", more=("TRUNCATE TABLE t", "TRUNCATE u"))
_INDEXES = Deviation(
    "Maxwell is silent about CREATE INDEX and DROP INDEX",
    more=(
        "CREATE INDEX ib ON t (b)", "CREATE UNIQUE INDEX ua ON t (a, b)", "CREATE FULLTEXT INDEX fb ON t (b)",
        "DROP INDEX old_a ON t",
    ),
)  # fmt: skip

_ANSI_QUOTES = Deviation(
    "A message has no sql_mode: with double quotes the statement means another thing, or nothing",
    (
        (
            r"CREATE TABLE \"quoted\" (\"id\" INT PRIMARY KEY, \"group\" VARCHAR(10)",
            "CREATE TABLE `quoted` (`id` INT PRIMARY KEY, `group` VARCHAR(10)",
        ),
        (r"ALTER TABLE \"quoted\" ADD COLUMN \"new one\" INT", "ALTER TABLE `quoted` ADD COLUMN `new one` INT"),
    ),
)
_LIKE = Deviation(
    "A message has no default database: where the model of LIKE is, nothing tells",
    (
        ("CREATE TABLE c_l_use2.copied LIKE t", "CREATE TABLE c_l_use2.copied LIKE `c_l_use1`.t"),
        ("CREATE TABLE c_l_use1.back LIKE t", "CREATE TABLE c_l_use1.back LIKE `c_l_use2`.t"),
    ),
)
_BACKSLASHES = Deviation(
    "A message has no sql_mode: without NO_BACKSLASH_ESCAPES a backslash in a string is an escape",
    ((r"DEFAULT 'C:\\new'", r"DEFAULT 'C:\\\\new'"),),
)

DEVIATIONS: dict[tuple[str, str], Deviation] = {
    (brand, name): deviation
    for brands, name, deviation in (
        (("mysql", "mariadb"), "01-integers", _ZEROFILL),
        (("mysql", "mariadb"), "02-decimal-float", _SINGLE_PRECISION),
        (("mysql",), "10-json", _SMALL_DOUBLE),
        (("mysql", "mariadb"), "20-ddl-alter", _CONVERTED),
        (("mysql", "mariadb"), "lossy/01-bit-wide", _BITS),
        (("mysql", "mariadb"), "lossy/02-time-range", _TIMES),
        (("mysql",), "lossy/04-json", _DOCUMENTS),
        (("mysql", "mariadb"), "lossy/05-partial-dates", _DATES),
        (("mysql", "mariadb"), "lossy/06-latin1-undefined", _LATIN1),
        (("mysql", "mariadb"), "lossy/07-truncate", _TRUNCATE),
        (("mysql", "mariadb"), "lossy/08-index-ddl", _INDEXES),
        (("mysql", "mariadb"), "lossy/09-enum-labels", _LABELS),
        (("mysql", "mariadb"), "lossy/10-ansi-quotes", _ANSI_QUOTES),
        (("mysql", "mariadb"), "lossy/11-use-other-database", _LIKE),
        (("mysql", "mariadb"), "lossy/12-session-of-ddl", _BACKSLASHES),
    )
    for brand in brands
}

MARKS = {"mysql": pytest.mark.mysql, "mariadb": pytest.mark.mariadb}
ALL = [
    pytest.param(case, marks=MARKS[case.brand], id=str(case))
    for brand in ("mysql", "mariadb")
    for case in (*cases(brand), *lossy_cases(brand))
]
BOOTSTRAP_TABLE = (
    "CREATE TABLE maxwell.bootstrap (id INT AUTO_INCREMENT PRIMARY KEY, database_name VARCHAR(255), table_name"
    " VARCHAR(255), where_clause TEXT, is_complete TINYINT UNSIGNED NOT NULL DEFAULT 0, inserted_rows BIGINT UNSIGNED"
    " NOT NULL DEFAULT 0, total_rows BIGINT UNSIGNED NOT NULL DEFAULT 0, created_at DATETIME, started_at DATETIME,"
    " completed_at DATETIME, binlog_file VARCHAR(255), binlog_position INT UNSIGNED DEFAULT 0, client_id VARCHAR(255),"
    " comment VARCHAR(255)) AUTO_INCREMENT = %s"
)


def run_case(source: Endpoint, case: Case) -> None:
    with source.connect() as connection, connection.cursor() as cursor:
        for sql, succeeds in case.statements:
            if succeeds:
                cursor.execute(sql)
            else:
                with pytest.raises(pymysql.Error):
                    cursor.execute(sql)


def recorded(case: Case) -> list[str]:
    """Maxwell's messages, without the rows of its own bootstrap, which is no part of the binlog."""
    return [comparable(message) for message in case.messages if b'"type":"bootstrap-' not in message]


def expected(case: Case) -> list[str]:
    """What capture must give: Maxwell's messages with the case's deviation."""
    messages = recorded(case)
    deviation = DEVIATIONS.get((case.brand, case.name))
    if deviation is None:
        return messages
    for maxwells, ours in deviation.instead:
        assert any(maxwells in message for message in messages), f"Maxwell does not say {maxwells}"
        messages = [message.replace(maxwells, ours) for message in messages]
    if deviation.rows:
        data = iter(deviation.rows)
        messages = [
            message.partition('"data":')[0] + next(data) if '"data":' in message else message for message in messages
        ]
        assert next(data, None) is None
    return messages


def make_maxwells_table(source: Endpoint, case: Case) -> None:
    """The table whose rows ask Maxwell for a bootstrap; its numbers go on from where the recording was."""
    first = next((json.loads(m) for m in case.messages if b'"table":"bootstrap"' in m and b'"insert"' in m), None)
    if first is not None:
        source.query("CREATE DATABASE maxwell")
        source.query(BOOTSTRAP_TABLE, first["data"]["id"])


@pytest.mark.parametrize("case", ALL)
def test_a_source_that_runs_a_case_gives_maxwells_messages(fresh_source: Endpoint, case: Case, tmp_path: Path) -> None:
    make_maxwells_table(fresh_source, case)
    capture = Capture(fresh_source, tmp_path)
    assert capture.read() == []
    run_case(fresh_source, case)
    messages = [comparable(message) for message in capture.read()]
    deviation = DEVIATIONS.get((case.brand, case.name))
    more = deviation.more if deviation else ()
    added = [message for message in messages if any(f'"sql":"{sql}"' in message for sql in more)]
    assert len(added) == len(more)
    assert [message for message in messages if message not in added] == expected(case)
