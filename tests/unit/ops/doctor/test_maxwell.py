from __future__ import annotations

from pathlib import Path

import pytest

from pydbsync.config.maxwell_file import read_maxwell_file, read_properties
from pydbsync.errors import ConfigError
from pydbsync.model import TableName
from pydbsync.ops.doctor.maxwell import FLAGS
from pydbsync.ops.doctor.maxwell_filter import passes, read_filter


def test_properties_are_read_as_java_does() -> None:
    text = "# a comment\n! another\n host = db1\nport:3307\nuser maxwell\npass\\=word=x=y\n"
    text += "filter = exclude: a.b, \\\n  include: c.*\n"
    assert read_properties(text) == {
        "host": "db1", "port": "3307", "user": "maxwell", "pass=word": "x=y", "filter": "exclude: a.b, include: c.*"
    }  # fmt: skip


def test_what_the_file_does_not_say_is_maxwells_default(tmp_path: Path) -> None:
    file = tmp_path / "config.properties"
    file.write_text("OUTPUT_DDL=true\n", encoding="utf-8")
    found = read_maxwell_file(file)
    names = ("output_ddl", "output_xoffset", "rabbitmq_exchange_type")
    assert tuple(found[name] for name in names) == ("true", "false", "fanout")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_maxwell_file(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("rules", "table", "passed"),
    [
        ("", "shop.orders", True),
        ("exclude: *.*", "shop.orders", False),
        ("exclude: *.*, include: shop.*", "shop.orders", True),
        ("exclude: *.*, include: shop.*", "crm.a", False),
        ("include: shop.*, exclude: shop.log", "shop.log", False),
        ("exclude: /^tmp/./.*/", "tmp_1.a", False),
        ("exclude: shop./_.*_gho$/", "shop._orders_gho", False),
        ("exclude: shop./_.*_gho$/", "shop.orders", True),
        ("exclude: shop.orders.col = x", "shop.orders", True),
        ("exclude: `shop`.`orders`", "shop.orders", False),
        ("blacklist: secret.*", "secret.a", False),
    ],
)
def test_maxwells_filter_is_understood(rules: str, table: str, passed: bool) -> None:
    assert passes(read_filter(rules), TableName(*table.split("."))) is passed


def test_the_page_lists_every_flag_that_is_looked_at() -> None:
    page = (Path(__file__).parents[4] / "docs" / "maxwell.md").read_text(encoding="utf-8")
    missing = [flag.name for flag in FLAGS if f"`{flag.name}" not in page]
    assert missing == []
