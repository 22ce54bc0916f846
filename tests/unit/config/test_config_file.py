"""Configuration files: Python as the original had it, YAML with the same keys, and what is wrong with a file."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from pydbsync.config.file import load_settings, read_config
from pydbsync.errors import ConfigError

ROOT = Path(__file__).parents[3]

AS_PYTHON = """
db_info = {'host': 'h', 'port': 3306, 'user': 'u', 'password': 'dbpass', 'autocommit': True, 'charset': 'utf8mb4'}
db_corpmod = 2
rabbitmq_conn_info = {'host': 'mq', 'vhost': '/crm' + str(db_corpmod)}
rabbitmq_queue_bind = [{'exchange': ['maxwell.AE', 'topic'], 'queues': {'default': ['*.*']}}]
binary_columns = {'mydb1': {'t2': ['f_account', 'f_password']}}
timestamp_offset = '+10:00'
online_schema_change = 'off'
"""

AS_YAML = """
db_info: {host: h, port: 3306, user: u, password: dbpass, autocommit: true, charset: utf8mb4}
db_corpmod: 2
rabbitmq_conn_info:
  host: mq
  vhost: /crm2
rabbitmq_queue_bind:
  - exchange: [maxwell.AE, topic]
    queues:
      default: ['*.*']
binary_columns:
  mydb1:
    t2: [f_account, f_password]
timestamp_offset: '+10:00'
online_schema_change: off
"""


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_python_and_yaml_say_the_same(tmp_path: Path) -> None:
    from_python = load_settings(write(tmp_path, "config.py", AS_PYTHON))
    assert from_python == load_settings(write(tmp_path, "config.yaml", AS_YAML))
    assert from_python == load_settings(write(tmp_path, "config.yml", AS_YAML))
    settings, warnings = from_python
    assert (settings.amqp.vhost, settings.timestamp_offset_s, settings.online_schema_change) == ("/crm2", 36000, "off")
    assert warnings == ()


def test_the_example_at_the_root_is_a_working_configuration() -> None:
    settings, warnings = load_settings(ROOT / "config.py")
    assert [queue.queue for queue in settings.queues] == ["t1", "t2_t3", "mydb", "default"]
    assert warnings == ()


def test_the_yaml_example_of_the_documentation_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    document = (ROOT / "docs" / "config.md").read_text(encoding="utf-8")
    example = document.split("```yaml\n")[1].split("```")[0]
    monkeypatch.setenv("PYDBSYNC_DB_PASSWORD", "a")
    monkeypatch.setenv("PYDBSYNC_MQ_PASSWORD", "b")
    settings, _ = load_settings(write(tmp_path, "config.yaml", example))
    assert settings.queues[0].routing_keys == ("*.*",)


def test_modules_callables_and_underscored_names_of_python_are_no_settings(tmp_path: Path) -> None:
    imports = "from __future__ import annotations\nimport os\nfrom pathlib import Path\n"
    config = write(tmp_path, "config.py", imports + "_n = 3\ndef f(): pass\ndb_corpmod = _n\n")
    assert read_config(config) == {"db_corpmod": 3}


def test_underscored_names_of_yaml_are_no_settings(tmp_path: Path) -> None:
    text = "_common: &common {host: h}\nrabbitmq_conn_info:\n  <<: *common\n  host: other\n"
    assert read_config(write(tmp_path, "c.yaml", text)) == {"rabbitmq_conn_info": {"host": "other"}}


def test_python_may_import_what_lies_beside_it_and_leaves_nothing_behind(tmp_path: Path) -> None:
    before_path, before_modules = list(sys.path), set(sys.modules)
    for number, folder in enumerate((tmp_path / "a", tmp_path / "b")):
        folder.mkdir()
        write(folder, "pydbsync_test_sibling.py", f"corpmod = {number}\n")
        config = write(folder, "config.py", "from pydbsync_test_sibling import corpmod as _n\ndb_corpmod = _n\n")
        assert read_config(config) == {"db_corpmod": number}
    assert sys.path == before_path
    left = set(sys.modules) - before_modules
    assert not left & {"pydbsync_test_sibling", "config", "pydbsync_operator_config"}


def test_python_that_fails_leaves_nothing_behind_either(tmp_path: Path) -> None:
    before_path = list(sys.path)
    write(tmp_path, "pydbsync_test_sibling.py", "corpmod = 1\n")
    with pytest.raises(ConfigError):
        read_config(write(tmp_path, "config.py", "import pydbsync_test_sibling\nraise ValueError('no')\n"))
    assert sys.path == before_path
    assert "pydbsync_test_sibling" not in sys.modules


FAULTS = [
    ("config.py", "db_info = {\n'host': \n", r"line \d+: .+"),
    ("config.py", "a = 1\n\nb = missing\n", "line 3: NameError: name 'missing' is not defined"),
    ("config.py", "def f():\n    raise KeyError('DB')\nf()\n", "line 2: KeyError: 'DB'"),
    ("config.py", "import sys\nsys.exit(3)\n", "line 2: SystemExit: 3"),
    ("config.yaml", "db_info:\n  host: h\n host: [\n", r"line 3: .+"),
    ("config.yaml", "db_corpmod: 1\ndb_corpmod: 2\n", "line 2: 'db_corpmod' is given twice"),
    ("config.yaml", "db_info: {host: a, host: b}\n", "line 1: 'host' is given twice"),
    ("config.yaml", "- a\n", "expected keys and values, such as db_corpmod: 0"),
    ("config.yaml", "", "expected keys and values, such as db_corpmod: 0"),
    ("config.yaml", "a: !!python/object/apply:os.getcwd []\n", r"line 1: could not determine a constructor .+"),
    ("config.toml", "a = 1\n", r"expected a file that ends in \.py, \.yaml, \.yml"),
]


@pytest.mark.parametrize(("name", "text", "sentence"), FAULTS, ids=[f"{name} {text!r}" for name, text, _ in FAULTS])
def test_a_file_that_cannot_be_read_is_named_with_its_line(tmp_path: Path, name: str, text: str, sentence: str) -> None:
    path = write(tmp_path, name, text)
    with pytest.raises(ConfigError) as caught:
        read_config(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert re.fullmatch(sentence, message.removeprefix(f"{path}: ")), message


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.py: there is no such file; write one, or name another with --config"):
        load_settings(tmp_path / "none.py")


def test_a_file_that_is_not_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_bytes(b"db_corpmod: \xff\n")
    with pytest.raises(ConfigError, match=r"config\.yaml: is not text in UTF-8"):
        read_config(tmp_path / "config.yaml")


def test_a_fault_in_yaml_does_not_show_the_lines_around_it(tmp_path: Path) -> None:
    path = write(tmp_path, "config.yaml", "db_info: {password: hunter2, user: [}\n")
    with pytest.raises(ConfigError) as caught:
        read_config(path)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__suppress_context__, "a traceback would show them"
