"""What fakes are made of: lists, and numbers, chosen by a digest; each here and as SQL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol


class NamePart(Protocol):
    """A part of a fake."""

    def text(self, digest: str) -> str:
        """By the hexadecimal digest of the value."""
        ...

    def sql(self, digest: str) -> str:
        """The same of an SQL expression."""
        ...


class Fixed(NamedTuple):
    """The same in all of them; printable ASCII without quotes."""

    words: str

    def text(self, digest: str) -> str:
        return self.words

    def sql(self, digest: str) -> str:
        return f"_ascii '{self.words}'"


class OneOf(NamedTuple):
    """One of a list, by eight digits of the digest from `at` on (from 0)."""

    words: Sequence[str]
    at: int

    def text(self, digest: str) -> str:
        return self.words[int(digest[self.at : self.at + 8], 16) % len(self.words)]

    def sql(self, digest: str) -> str:
        listed = ", ".join(f"_ascii '{word}'" for word in self.words)
        return f"ELT({_number(digest, self.at)} % {len(self.words)} + 1, {listed})"


class Digits(NamedTuple):
    """So many decimal digits, by eight digits of the digest from `at` on; the first is none of zero's."""

    size: int
    at: int

    def text(self, digest: str) -> str:
        least = 10 ** (self.size - 1)
        return str(least + int(digest[self.at : self.at + 8], 16) % (9 * least))

    def sql(self, digest: str) -> str:
        least = 10 ** (self.size - 1)
        return f"{least} + {_number(digest, self.at)} % {9 * least}"


class Hex(NamedTuple):
    """The first digits of the digest."""

    size: int

    def text(self, digest: str) -> str:
        return digest[: self.size]

    def sql(self, digest: str) -> str:
        return f"LEFT({digest}, {self.size})"


class Day(NamedTuple):
    """A day between 1940 and 2009."""

    def text(self, digest: str) -> str:
        number = int(digest[:8], 16)
        return f"{1940 + number % 70}-{1 + number // 70 % 12:02}-{1 + number // 840 % 28:02}"

    def sql(self, digest: str) -> str:
        number = _number(digest, 0)
        month, day = f"LPAD(1 + {number} DIV 70 % 12, 2, '0')", f"LPAD(1 + {number} DIV 840 % 28, 2, '0')"
        return f"CONCAT(1940 + {number} % 70, '-', {month}, '-', {day})"


def _number(digest: str, at: int) -> str:
    return f"CAST(CONV(SUBSTR({digest}, {at + 1}, 8), 16, 10) AS UNSIGNED)"


_FIRST = (
    "Ada", "Alan", "Anna", "Ben", "Carla", "Chen", "Clara", "David", "Elena", "Emil", "Eva", "Felix", "Grace", "Hana",
    "Hugo", "Ida", "Ivan", "Jana", "Jonas", "Julia", "Kai", "Lara", "Leo", "Lin", "Luca", "Maja", "Marc", "Mia", "Nils",
    "Nora", "Olga", "Oscar", "Paul", "Petra", "Rosa", "Sara", "Simon", "Tara", "Theo", "Yuki",
)  # fmt: skip
_LAST = (
    "Adler", "Baker", "Berg", "Brandt", "Carter", "Costa", "Diaz", "Evans", "Fischer", "Fuchs", "Garcia", "Gruber",
    "Hansen", "Hill", "Ito", "Jensen", "Keller", "Kim", "Klein", "Lang", "Larsen", "Lopez", "Maier", "Moore", "Moreau",
    "Novak", "Olsen", "Park", "Peters", "Reed", "Rossi", "Sato", "Silva", "Smith", "Tanaka", "Vogel", "Wagner", "Wang",
    "Weber", "Young",
)  # fmt: skip
_CITIES = (
    "Ashford", "Brookfield", "Clearwater", "Dunmore", "Eastport", "Fairview", "Glenwood", "Hillcrest", "Kingsbridge",
    "Lakeside", "Millbrook", "Northfield", "Oakdale", "Riverton", "Springdale", "Westbury",
)  # fmt: skip
_STREETS = (
    "Bridge Street", "Church Lane", "Garden Road", "High Street", "Hill Road", "Lake Avenue", "Market Street",
    "Mill Lane", "Park Avenue", "River Road", "School Lane", "Station Road",
)  # fmt: skip
_COMPANIES = ("Works", "Trading", "Systems", "Partners", "Logistics", "Foods", "Tools", "Media")

_NAMES = (OneOf(_FIRST, 0), Fixed(" "), OneOf(_LAST, 8))
PARTS: Mapping[str, Sequence[NamePart]] = {
    "email": (),
    "first_name": (OneOf(_FIRST, 0),),
    "last_name": (OneOf(_LAST, 8),),
    "name": _NAMES,
    "phone": (Fixed("+1555"), Digits(7, 0)),
    "city": (OneOf(_CITIES, 0),),
    "street": (OneOf(_STREETS, 0), Fixed(" "), Digits(2, 8)),
    "company": (OneOf(_LAST, 0), Fixed(" "), OneOf(_COMPANIES, 8)),
    "date": (Day(),),
}
_DOMAIN = "@example.com"
EMAIL_REST = len(_DOMAIN) + 1


def email(digits: int) -> Sequence[NamePart]:
    """An address that nobody has, with so many digits of the digest."""
    return (Fixed("u"), Hex(digits), Fixed(_DOMAIN))
