"""Binary JSON as MySQL 9.7 writes it into its binlog."""

from __future__ import annotations

import pytest

from pydbsync.errors import OperationError
from pydbsync.ops.capture.rows.jsonb import read_json
from pydbsync.ops.capture.rows.jsondiff import apply_diffs

NESTED = bytes.fromhex(
    "0003003b00190001001a0001001b000200050100021d000c36006162c3a903001900050100050200000d0001000c000b000100040000"
    "6304f09f9880"
)


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (NESTED.hex(), '{"a":1,"b":[1,2,{"c":null}],"é":"😀"}'),
        (
            "02090047000a1f000927000a2f00073700050080073b00093f00040100040200"
            "ffffffffffffff7f0000000000000080ffffffffffffffffffff0000ffffff7fffffffff00000000",
            "[9223372036854775807,-9223372036854775808,18446744073709551615,65535,-32768,2147483647,4294967295,"
            "true,false]",
        ),
        (
            "02060046000b16000b1e000b26000b2e000b36000b3e00"
            "9a9999999999b93f8dedb5a0f7c6803e00000000d0126341355800662deb417e0000000000000080000000000824fe40",
            "[0.1,1.25e-07,10000000.0,1.5e+300,-0.0,123456.5]",
        ),
        ("0c1374616220092071756f74652022206e756c2000", '"tab \\t quote \\" nul \\u0000"'),
        ("0000000400", "{}"),
        ("0400", "null"),
        ("", "null"),
        (
            "02060044000f16000f1f000f29000f33000f3d000f4100f6070b02800000010a0a08000000000044b2190b08e05ef84737ffffff"
            "0c08000000053144b2190f0200ff0f0105",
            '[1.10,"2024-01-02","-12:34:56.500000","2024-01-02 03:04:05.000000","base64:type15:AP8=",'
            '"base64:type15:BQ=="]',
        ),
        ("0201003501" + "0c0700" + "ac02" + "78" * 300, '["' + "x" * 300 + '"]'),
    ],
)
def test_a_document_is_printed_compactly_and_keeps_every_value(raw: str, text: str) -> None:
    assert read_json(bytes.fromhex(raw)) == text


def diff(operation: int, path: str, value: str = "") -> bytes:
    raw = bytes.fromhex(value)
    return bytes([operation, len(path.encode())]) + path.encode() + (bytes([len(raw)]) + raw if value else b"")


REPLACE, INSERT, REMOVE = 0, 1, 2
SEVEN = "050700"


@pytest.mark.parametrize(
    ("diffs", "text"),
    [
        (diff(REPLACE, "$.a", SEVEN), '{"a":7,"b":[1,2,{"c":null}],"é":"😀"}'),
        (diff(REPLACE, "$.b[1]", SEVEN), '{"a":1,"b":[1,7,{"c":null}],"é":"😀"}'),
        (diff(INSERT, "$.b[1]", SEVEN), '{"a":1,"b":[1,7,2,{"c":null}],"é":"😀"}'),
        (diff(INSERT, "$.b[3]", SEVEN), '{"a":1,"b":[1,2,{"c":null},7],"é":"😀"}'),
        (diff(REMOVE, "$.b[0]"), '{"a":1,"b":[2,{"c":null}],"é":"😀"}'),
        (diff(REMOVE, '$."é"'), '{"a":1,"b":[1,2,{"c":null}]}'),
        (diff(INSERT, "$.aa", SEVEN), '{"a":1,"b":[1,2,{"c":null}],"aa":7,"é":"😀"}'),
        (diff(REPLACE, "$.b[2].c", SEVEN) + diff(REMOVE, "$.a"), '{"b":[1,2,{"c":7}],"é":"😀"}'),
        (diff(REPLACE, "$", SEVEN), "7"),
        (b"", '{"a":1,"b":[1,2,{"c":null}],"é":"😀"}'),
    ],
)
def test_changes_to_a_document_give_the_whole_one(diffs: bytes, text: str) -> None:
    assert apply_diffs(NESTED, diffs) == text


@pytest.mark.parametrize(
    ("diffs", "told"),
    [
        (diff(REPLACE, "$.x.y", SEVEN), r"'\$\.x\.y' of a JSON change does not fit"),
        (diff(REPLACE, "$.b[7].c", SEVEN), "does not fit"),
        (diff(REPLACE, "$.b[3]", SEVEN), "does not fit"),
        (diff(REPLACE, "$.b.c", SEVEN), "does not fit"),
        (diff(REPLACE, "$.a[0]", SEVEN), "does not fit"),
        (diff(REPLACE, "$.a.b.c", SEVEN), "does not fit"),
        (diff(REMOVE, "$.x"), "does not fit"),
        (diff(REMOVE, "$.b[3]"), "does not fit"),
        (diff(REMOVE, "$"), "removes the whole document"),
        (diff(REPLACE, "$..a", SEVEN), "is not known"),
        (diff(REPLACE, "$[*]", SEVEN), "is not known"),
    ],
)
def test_a_change_that_does_not_fit_its_document_is_refused(diffs: bytes, told: str) -> None:
    with pytest.raises(OperationError, match=told):
        apply_diffs(NESTED, diffs)
