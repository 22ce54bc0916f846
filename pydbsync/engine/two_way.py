"""The judge of a stream whose source is written by replay too, in the other direction."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from pydbsync.config.settings import Settings
from pydbsync.engine.echoes import Echoes
from pydbsync.engine.judge import PLAINLY_NEW, Judge, Judgement, Verdict
from pydbsync.model import Delivery, RowChange, SchemaChange
from pydbsync.plan.agreement import Word
from pydbsync.protocols import CopyStart
from pydbsync.work import StreamState

UNTOLD = (
    "the first rows of its transaction did not come through the queue, and the mark with which pydbsync begins what it"
    " writes may have been among them (two_way): `parked skip` if the row was carried over from the other server,"
    " `parked retry` if others have written it"
)
_NEW = frozenset({Verdict.NEW, Verdict.REPEAT})
_PLAIN = {verdict: Judgement(verdict) for verdict in (Verdict.ECHO, Verdict.STATE)}


class TwoWayJudge(Judge):
    """Leaves out what comes back of what the other direction has applied; its place is passed as any other."""

    def __init__(
        self,
        state: StreamState,
        *,
        copy: CopyStart | None,
        heartbeat_table: str,
        carries_everything: bool,
        splits_statements: bool = False,
        echoes: Echoes,
    ) -> None:
        super().__init__(
            state, copy=copy, heartbeat_table=heartbeat_table, carries_everything=carries_everything,
            splits_statements=splits_statements,
        )  # fmt: skip
        self._echoes = echoes

    @property
    def word(self) -> Word | None:
        return self._echoes.word

    def state(self, former: StreamState) -> StreamState:
        return msgspec.structs.replace(super().state(former), echoes=self._echoes.to_json())

    def judge_row(self, delivery: Delivery, change: RowChange) -> Judgement:
        judgement = super().judge_row(delivery, change)
        # Of what comes again too: the rows of a transaction stand behind its mark each time.
        if not self._echoes.is_echo(change):
            if judgement.verdict in _NEW and self._echoes.is_untold(change, lacks_head=self.lacks_head):
                return Judgement(Verdict.UNTOLD, UNTOLD, judgement.missing, judgement.is_new_stream)
            return judgement
        if judgement.verdict not in _NEW:
            return judgement
        verdict = Verdict.STATE if self._echoes.is_state(change) else Verdict.ECHO
        return _PLAIN[verdict] if judgement is PLAINLY_NEW else judgement._replace(verdict=verdict)

    def judge_schema_change(self, delivery: Delivery, change: SchemaChange, *, is_open: bool) -> Judgement:
        judgement = super().judge_schema_change(delivery, change, is_open=is_open)
        if not self._echoes.is_echo_of_statement(change) or judgement.verdict not in _NEW:
            return judgement
        return judgement._replace(verdict=Verdict.ECHO)


def judge_for(
    settings: Settings,
    state: StreamState,
    *,
    copy: CopyStart | None,
    carries_everything: bool,
    splits_statements: bool,
    echoes: Callable[[str | None], Echoes],
) -> Judge:
    """The judge that the settings ask for; `echoes` makes what it needs for both directions."""
    if settings.two_way is None:
        return Judge(
            state, copy=copy, heartbeat_table=settings.heartbeat_table, carries_everything=carries_everything,
            splits_statements=splits_statements,
        )  # fmt: skip
    return TwoWayJudge(
        state, copy=copy, heartbeat_table=settings.heartbeat_table, carries_everything=carries_everything,
        splits_statements=splits_statements, echoes=echoes(state.echoes),
    )  # fmt: skip
