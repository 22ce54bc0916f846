"""What the messages of a stream are of: what is not Maxwell's is translated before the engine sees it."""

from __future__ import annotations

from collections.abc import Mapping

from pydbsync.config.settings import Settings
from pydbsync.decode.canal import CanalTranslator
from pydbsync.decode.debezium import DebeziumTranslator
from pydbsync.decode.encrypted import Decryption
from pydbsync.decode.spoken import DefinitionOf, Translate
from pydbsync.engine.routing import router_from
from pydbsync.engine.stages import Stages
from pydbsync.engine.table_plans import TablePlans
from pydbsync.engine.translated import TranslatedSource, decoder_of
from pydbsync.model import Column, TableName
from pydbsync.plan.ddl.recognise import recognise
from pydbsync.protocols import StateStore
from pydbsync.sinks.source_tables import SourceColumns


def translated(stages: Stages, settings: Settings, input_format: str) -> Stages:
    """The same parts with what reads the format before them. Raises ConfigError."""
    plans, has_tables = stages.plans, False
    columns_of: DefinitionOf = _unknown_columns
    if isinstance(plans, TablePlans):
        columns_of, has_tables = plans.target_columns, True
    elif input_format != "maxwell":
        columns_of, has_tables = SourceColumns(settings, router_from(settings)), settings.source is not None
    translate = translator_of(settings, input_format, columns_of, has_tables=has_tables, store=stages.store)
    if translate is None:
        return stages
    return stages._replace(
        source=TranslatedSource(stages.source, translate), decode=decoder_of(translate, input_format)
    )


def _unknown_columns(table: TableName) -> Mapping[str, Column] | None:
    return None


def _last_place(store: StateStore | None) -> tuple[str, int]:
    """Binlog file and offset of what was applied last."""
    state = None if store is None else store.state
    if state is None or not state.checkpoint.base:
        return "", 0
    place = state.checkpoint.place
    return f"{state.checkpoint.base}.{place.file:06d}", place.offset


def _changes_no_table(sql: str) -> bool:
    return recognise(sql, "mysql").kind == "nothing"


def translator_of(
    settings: Settings,
    input_format: str,
    columns_of: DefinitionOf,
    *,
    has_tables: bool,
    store: StateStore | None = None,
) -> Translate | None:
    """What reads messages of this format; None where they are read as they come. Raises ConfigError."""
    if input_format == "canal":
        return CanalTranslator(settings.canal_time_zone, columns_of=columns_of, leaves_out=_changes_no_table)
    if input_format == "debezium":
        modes = settings.debezium_modes
        return DebeziumTranslator(
            columns_of,
            has_tables=has_tables,
            last_place=lambda: _last_place(store),
            leaves_out=_changes_no_table,
            binaries=modes.get("binary.handling.mode", "bytes"),
            decimals=modes.get("decimal.handling.mode", "precise"),
            times=modes.get("time.precision.mode", "adaptive_time_microseconds"),
        )
    if settings.maxwell_secret_key is not None:
        former = settings.maxwell_former_secret_key
        return Decryption(settings.maxwell_secret_key.reveal(), former=former.reveal() if former is not None else "")
    return None
