"""A server of other habits than the lab's own, as source and as target: the doctor names each, and its remedy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

import lab
from pydbsync.config.settings import Settings, settings_from_mapping
from tests.certificates import Certificates, sign
from tests.comparing import compare, run_sql
from tests.examining import Fault, examined, must_say, named, settings_of, shown
from tests.processes import wait_for
from tests.servers import Endpoint

pytestmark = pytest.mark.mariadb

HABITS = {"lower-case-table-names": "1", "binlog-do-db": "elsewhere", "log-slave-updates": "0"}


class Odd:
    """The server, and the lab's own target as its source."""

    def __init__(self, server: lab.MariaDB, above: Endpoint) -> None:
        self.server = server
        self.above = above
        self.end = Endpoint.of_lab(server)


@pytest.fixture(scope="module")
def odd(
    source: Endpoint, target: Endpoint, certificates: Certificates, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Odd]:
    """It folds the case of names, leaves databases out of its binlog, and has the certificate of another host."""
    root = tmp_path_factory.mktemp("odd")
    other = sign(root / "other", certificates.authority, name="db.example", extensions="subjectAltName=DNS:db.example")
    tls = lab.Tls(certificates.ca, other.certificate, other.key)
    server = lab.MariaDB("odd", root=root, tls=tls, options=HABITS).start()
    for end in (source, target, Endpoint.of_lab(server)):
        if end.server:
            end.server.start()
        end.drop_databases()
        run_sql(end, ["CREATE DATABASE shop", "CREATE TABLE shop.t (id INT PRIMARY KEY)"])
    yield Odd(server, target)
    for each in lab.servers(root=root):
        each.remove()


def tls_settings(source: Endpoint, odd: Odd, certificates: Certificates, **checks: bool) -> Settings:
    checked = {"ssl_ca": str(certificates.ca), "ssl_verify_cert": True, **checks}
    given: dict[str, Any] = {
        "db_info": {**odd.end.db_info, "host": "localhost", **checked},
        "source_db_info": source.db_info,
        "log_file_prefix": "",
    }
    return settings_from_mapping(given, require=())[0]


def test_names_that_differ_by_their_case(odd: Odd, source: Endpoint) -> None:
    settings = settings_of(source, odd.end)
    must_say(examined(settings, "target"), Fault("", "name-case", "warning", "is 0 at the source and 1 at", "same"))
    source.query("CREATE TABLE shop.T (id INT PRIMARY KEY)")
    try:
        report = examined(settings, "target")
    finally:
        source.query("DROP TABLE shop.T")
    must_say(report, Fault("", "name-case", "error", "become one table", "lower_case_table_names=0"))


def test_names_that_one_server_folds_are_no_difference_of_foreign_keys(odd: Odd, source: Endpoint) -> None:
    for end in (source, odd.end):
        run_sql(
            end,
            "CREATE DATABASE Old;\nCREATE TABLE Old.Parents (id INT PRIMARY KEY);\n"
            "CREATE TABLE Old.Children (id INT PRIMARY KEY, CONSTRAINT f FOREIGN KEY (id) REFERENCES Old.Parents (id))",
        )
    try:
        reports = compare(settings_of(source, odd.end), tables=("Old.*",))
    finally:
        for end in (source, odd.end):
            end.query("DROP DATABASE Old")
    assert {name: report.structure for name, report in reports.items()} == {"old.parents": [], "old.children": []}


def test_a_certificate_that_ends_soon(odd: Odd, source: Endpoint, certificates: Certificates) -> None:
    """Those of the tests are good for two days."""
    report = examined(tls_settings(source, odd, certificates), "connections")
    must_say(report, Fault("", "target-certificate", "warning", "the certificate of the target ends in", "FLUSH SSL"))
    must_say(report, Fault("", "target-tls", "ok", "is encrypted", ""))


def test_a_certificate_of_another_host(odd: Odd, source: Endpoint, certificates: Certificates) -> None:
    report = examined(tls_settings(source, odd, certificates, ssl_verify_identity=True), "connections")
    must_say(report, Fault("", "target-connection", "error", "localhost", "the names in the server's certificate"))


def test_a_source_that_leaves_databases_out_of_its_binlog(odd: Odd) -> None:
    report = examined(settings_of(odd.end, odd.above), "source")
    must_say(report, Fault("", "binlog-filter", "error", "leaves shop out of its binlog", "binlog_do_db"))


def test_a_server_that_replicates_by_itself(odd: Odd, source: Endpoint) -> None:
    """As target it gets everything twice; as source it logs nothing of it, and here its source is the target."""
    above = odd.above
    odd.end.query(
        f"CHANGE MASTER TO MASTER_HOST = '{above.host}', MASTER_PORT = {above.port}, MASTER_USER = '{above.user}',"
        f" MASTER_PASSWORD = '{above.password}', MASTER_USE_GTID = slave_pos"
    )
    gtid = above.query("SELECT @@gtid_binlog_pos")[0][0]
    odd.end.query("SET GLOBAL gtid_slave_pos = %s", gtid)
    odd.end.query("START SLAVE")
    try:
        wait_for(lambda: "Yes" in {str(each) for each in odd.end.query("SHOW SLAVE STATUS")[0]}, what="the replica")
        as_target = examined(settings_of(source, odd.end), "target")
        as_source = examined(settings_of(odd.end, above), "source")
    finally:
        odd.end.query("STOP SLAVE")
    must_say(as_target, Fault("", "target-replica", "error", f"a replica of {above.host}:{above.port}", "STOP ALL"))
    must_say(as_source, Fault("", "replica", "error", "log_replica_updates=OFF", "log_slave_updates=ON"))
    must_say(as_source, Fault("", "replica", "error", "is a replica of the target", "STOP SLAVE"))
    stopped = examined(settings_of(odd.end, above), "source")
    must_say(stopped, Fault("", "replica", "error", "whose threads are stopped", "START SLAVE"))
    assert not named(examined(settings_of(source, odd.end), "target"), "target-replica")


def test_a_certificate_that_has_ended(odd: Odd, source: Endpoint, certificates: Certificates) -> None:
    """And a source without a binlog: both need a start."""
    folder = odd.server.root
    ended = sign(
        folder / "ended", certificates.authority, name="localhost", extensions="subjectAltName=DNS:localhost", days=-1
    )
    options = {"lower-case-table-names": "1", "skip-log-bin": "1"}
    tls = lab.Tls(certificates.ca, ended.certificate, ended.key)
    server = lab.MariaDB("odd", root=folder, tls=tls, options=options).start()
    end = replace(odd.end, port=server.port)
    report = examined(settings_of(end, odd.above), "source")
    must_say(report, Fault("", "log-bin", "error", "writes no binlog", "log_bin=binlog"))
    report = examined(tls_settings(source, odd, certificates), "connections")
    assert any("expired" in each.text and "renewed" in each.remedy for each in report.findings), shown(report)
