"""What the plan must know of the target server."""

from __future__ import annotations

import msgspec

from pydbsync.plan.ddl.collations import StatementServer
from pydbsync.plan.ddl.lexer import Brand


class Dialect(msgspec.Struct, frozen=True):
    """What the plan must know of the target server."""

    is_mariadb: bool = True
    version: tuple[int, ...] = (10, 11)
    charset: str | None = None
    """`@@character_set_server`, what a database gets that is created without one."""

    @property
    def brand(self) -> Brand:
        return "mariadb" if self.is_mariadb else "mysql"

    @property
    def has_order_of_axes(self) -> bool:
        """Whether its functions of geometry take the option `axis-order`, for reference systems with another one."""
        return not self.is_mariadb and self.version >= (8,)

    @property
    def server(self) -> StatementServer:
        """The same for statements."""
        return StatementServer(self.brand, self.version, self.charset)


DEFAULT_DIALECT = Dialect()
