"""Text of every character set of the source, decoded by the source's own tables.

Python's codecs and MySQL's differ (latin1 is windows-1252 with the five gaps filled, sjis has its own backslash, gbk
and gb18030 know other characters), so what is not Unicode is asked from the server: once for all characters of a set,
as each character's bytes, because that is the direction in which the target will store them again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pydbsync.errors import OperationError

DecodeText = Callable[["bytes | memoryview"], str]
AskRow = Callable[[str, Sequence[object]], Sequence[object]]
"""Runs one SELECT with one row: the expression list as SQL text, its parameters, the row."""

_UNICODE = {
    "utf8": "utf-8", "utf8mb3": "utf-8", "utf8mb4": "utf-8", "ascii": "ascii",
    "ucs2": "utf-16-be", "utf16": "utf-16-be", "utf16le": "utf-16-le", "utf32": "utf-32-be",
}  # fmt: skip
_CHUNK = 4096
_LONGEST = 4
"""Bytes of a character in gb18030."""
_SUPPLEMENTARY = 0x90
"""gb18030 counts the characters past U+FFFF from the four bytes 90 30 81 30 on, without a table."""
UNKNOWN = "�"


class Charsets:
    """Decoders by character set, made on first use. `undecodable` counts values that held bytes which are no text."""

    def __init__(self, ask: AskRow) -> None:
        self._ask = ask
        self._made: dict[str, tuple[DecodeText, bool]] = {}
        """The decoder, and whether the character set has ASCII."""
        self.undecodable = 0

    def decoder(self, charset: str) -> DecodeText:
        """The function that turns bytes of this character set into text; bytes that are no text become U+FFFD."""
        return self._of(charset)[0]

    def has_ascii(self, charset: str) -> bool:
        """Whether bytes below 128 are ASCII wherever nothing else stands beside them."""
        return self._of(charset)[1]

    def _of(self, charset: str) -> tuple[DecodeText, bool]:
        if charset not in self._made:
            codec = _UNICODE.get(charset)
            self._made[charset] = self._by_codec(codec) if codec else self._by_table(charset)
        return self._made[charset]

    def _by_codec(self, codec: str) -> tuple[DecodeText, bool]:
        errors = "surrogatepass" if codec.startswith("utf-16") else "strict"

        def decode(raw: bytes | memoryview) -> str:
            try:
                return str(raw, codec, errors)
            except UnicodeDecodeError:
                self.undecodable += 1
                return str(raw, codec, "replace")

        return decode, not codec.startswith(("utf-16", "utf-32"))

    def _by_table(self, charset: str) -> tuple[DecodeText, bool]:
        table = self._load(charset)
        has_ascii = all(table.get(bytes((code,))) == chr(code) for code in range(128))

        def decode(value: bytes | memoryview) -> str:
            raw = bytes(value)
            if has_ascii and raw.isascii():
                return raw.decode("ascii")
            text = []
            at, end = 0, len(raw)
            while at < end:
                for size in range(1, _LONGEST + 1):
                    character = table.get(raw[at : at + size])
                    if character is not None:
                        break
                else:
                    character, size = self._ask_one(charset, raw[at : at + _LONGEST])
                    table[raw[at : at + size]] = character
                    if character == UNKNOWN:
                        self.undecodable += 1
                text.append(character)
                at += size
            return "".join(text)

        return decode, has_ascii

    def _load(self, charset: str) -> dict[bytes, str]:
        """Every character of the basic plane that the set has, by its bytes."""
        if not charset.isalnum():  # it stands in the SQL below
            raise OperationError(f"{charset!r} is no character set")
        table: dict[bytes, str] = {}
        shared: set[bytes] = set()
        points = [*range(1, 0xD800), *range(0xE000, 0x10000)]
        for start in range(0, len(points), _CHUNK):
            characters = [chr(point) for point in points[start : start + _CHUNK]]
            # One string a chunk; each character is followed by NUL, which no character set uses inside another one.
            (answer,) = self._ask(f"CAST(CONVERT(%s USING {charset}) AS BINARY)", ["\0".join(characters)])
            if not isinstance(answer, bytes):
                raise OperationError(f"the source does not tell the characters of {charset}")
            for character, code in zip(characters, answer.split(b"\0"), strict=True):
                if code and (code != b"?" or character == "?"):
                    if code in table:
                        shared.add(code)
                    table.setdefault(code, character)
        for code in shared:  # several characters are stored as this one; reading it back tells which it is
            table[code] = self._ask_one(charset, code)[0]
        table[b"\0"] = "\0"
        return table

    def _ask_one(self, charset: str, raw: bytes) -> tuple[str, int]:
        """A character that does not lead back to its own bytes (cp932 has two codes for some), or none at all."""
        for size in range(1, len(raw) + 1):
            (text,) = self._ask(f"CONVERT(CONVERT(%s USING {charset}) USING utf8mb4)", [raw[:size]])
            if isinstance(text, str) and len(text) == 1 and (text != "?" or raw[:1] == b"?"):
                return text, size
        return UNKNOWN, 1
