"""How gh-ost and pt-online-schema-change name their tables and constraints.

Sources: go/base/context.go and go/logic/applier.go of gh-ost; create_new_table and swap_tables of
pt-online-schema-change 3.2.1.
"""

from __future__ import annotations

import re

from pydbsync.plan.clauses import Clause

COPY = re.compile(r"_+(.+)_(?:gho|new)", re.DOTALL)
ANY_TABLE = re.compile(r"_+.+_(?:gho|ghc|del|new|old)", re.DOTALL)
LOG_COLUMNS = ["id", "last_update", "hint", "value"]
SENTRY_COMMENT = "ghost-cut-over-sentry"
_NAME_LIMIT = 64


def bases_of(copy: str, like: str | None = None) -> list[str]:
    """The tables that a copy of this name may be of: `__a_new` of `_a` or of `a`. `like`: what it was made like."""
    found = COPY.fullmatch(copy)
    if not found:
        return []
    bare = copy[: found.end(1)]
    bases = [bare[count:] for count in range(1, len(bare) - len(bare.lstrip("_")) + 1)]
    if like is not None and len(copy) == _NAME_LIMIT and any(like.startswith(base) for base in bases):
        bases.append(like)  # gh-ost cuts a long name so that the ending fits
    return [base for base in bases if base]


def is_old_name(name: str, base: str) -> bool:
    """Whether the tools move the real table away under this name."""
    pattern = rf"_+{re.escape(base)}_(?:\d{{14}}_)?(?:del|old)"
    return re.fullmatch(pattern, name) is not None or (len(name) == _NAME_LIMIT and name.endswith(("_del", "_old")))


def constraint_before(name: str) -> str:
    """The name from which pt-online-schema-change made this one: a became _a, _a became __a, __a became a."""
    return name[1:] if name.startswith("_") else "__" + name


def is_made_up(clause: Clause) -> bool:
    """A CHECK that had no name got one from the server, another one on each brand."""
    return clause.kind == "check" and re.search(r"CONSTRAINT_\d+$|_chk_\d+$", clause.name or "") is not None
