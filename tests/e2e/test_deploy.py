"""What is shipped for running it: packages that install clean; units, manifests and rotation that their tools take."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import typer
import yaml

from lab.server import find_program
from pydbsync.cli import application
from pydbsync.config.settings import Settings, settings_from_mapping
from tests.matrices import LONG
from tests.processes import REPOSITORY

DEPLOY = REPOSITORY / "deploy"
PORT = 9420


def run(*command: str | Path, **options: Any) -> str:
    done: subprocess.CompletedProcess[str] = subprocess.run(
        [str(each) for each in command], capture_output=True, text=True, check=False, **options
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def built(folder: Path, *options: str) -> Path:
    """The wheel, from no more than what the container's build copies."""
    copied = re.findall(r"^COPY (?!--)(.+) /src", (DEPLOY / "Containerfile").read_text(), re.MULTILINE)
    source = folder / "src"
    source.mkdir()
    for name in " ".join(copied).split():
        if (REPOSITORY / name).is_dir():
            shutil.copytree(REPOSITORY / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(REPOSITORY / name, source)
    run(sys.executable, "-m", "build", "-q", "--no-isolation", *options, "--outdir", folder / "dist", source)
    (wheel,) = (folder / "dist").glob("*.whl")
    kept = set(zipfile.ZipFile(wheel).namelist())
    page = {path.relative_to(REPOSITORY).as_posix() for path in (REPOSITORY / "pydbsync" / "ui").rglob("*.[!p]*")}
    assert {name for name in page if "__pycache__" not in name} <= kept
    assert "pydbsync/ui/static/ui.css" in kept
    return wheel


LOADS_ALL = (
    "from pydbsync.cli import application; from pydbsync.process.alert_rules import texts; application(); texts();"
    "import pydbsync.process.worker, pydbsync.plan.ddl.tokenizer"
)


def test_the_wheel_holds_all_that_commands_load_and_gives_the_command(tmp_path: Path) -> None:
    unpacked = tmp_path / "unpacked"
    zipfile.ZipFile(built(tmp_path, "--wheel")).extractall(unpacked)
    (about,) = unpacked.glob("*.dist-info")
    assert "pydbsync = pydbsync.cli:main" in (about / "entry_points.txt").read_text()
    code = f"{LOADS_ALL}; import pydbsync; print(pydbsync.__file__)"
    said = run(sys.executable, "-c", code, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(unpacked)})
    assert Path(said.strip()).is_relative_to(unpacked)


@LONG
def test_wheel_and_source_install_clean_and_give_the_command(tmp_path: Path) -> None:
    wheel = built(tmp_path)  # from the source distribution
    assert len(list((tmp_path / "dist").glob("*.tar.gz"))) == 1
    venv.create(tmp_path / "empty", with_pip=False, symlinks=True)
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", tmp_path / "empty/bin/python")
    run(*pip, "install", "-q", "--no-compile", wheel)
    assert run(tmp_path / "empty/bin/pydbsync", "--version", cwd=tmp_path).startswith("pydbsync ")
    run(tmp_path / "empty/bin/python", "-W", "error::ImportWarning", "-c", LOADS_ALL, cwd=tmp_path)


def test_the_extras_are_named_where_people_look() -> None:
    text = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
    section = re.findall(r"^\[project\.optional-dependencies\]\n(.*?)^\[", text, re.MULTILINE | re.DOTALL)[0]
    extras = set(re.findall(r"^(\w+) = ", section, re.MULTILINE))
    page = (REPOSITORY / "docs" / "operations.md").read_text(encoding="utf-8")
    assert "zstd" in extras
    for extra in extras - {"dev", "bench"}:
        assert f"pydbsync[{extra}]" in page, extra


def parsed(line: str) -> str:
    """The command of a line such as `/opt/pydbsync/bin/pydbsync run --config FILE`; its options are taken."""
    words = shlex.split(line)
    assert Path(words[0]).name == "pydbsync"
    command: Any = typer.main.get_command(application(words[1]))
    command.commands[words[1]].make_context(words[1], words[2:])
    return words[1]


def test_systemd_takes_the_units_and_pydbsync_their_commands(tmp_path: Path) -> None:
    units = sorted((DEPLOY / "systemd").iterdir())
    script = str(Path(sys.executable).parent / "pydbsync")
    for unit in units:
        text = unit.read_text(encoding="utf-8")
        (tmp_path / unit.name).write_text(text.replace("/opt/pydbsync/bin/pydbsync", script), encoding="utf-8")
    said = run(find_program("systemd-analyze"), "verify", *(tmp_path / unit.name for unit in units))
    assert [line for line in said.splitlines() if "pydbsync" in line] == []
    lines = [line for unit in units for line in re.findall(r"^ExecStart=(.+)$", unit.read_text(), re.MULTILINE)]
    assert {parsed(line) for line in lines} == {"run", "capture", "heartbeat", "ui", "verify"}


def manifests() -> list[dict[str, Any]]:
    text = (DEPLOY / "kubernetes" / "pydbsync.yaml").read_text(encoding="utf-8")
    return [each for each in yaml.safe_load_all(text) if each]


def settings_of(given: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name in re.findall(r"'password_env': '(\w+)'", str(given)):
        monkeypatch.setenv(name, "x")
    return settings_from_mapping(given)[0]


def test_kubernetes_takes_the_manifests_and_pydbsync_their_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {each["kind"]: each for each in manifests()}
    assert set(found) == {"ConfigMap", "Deployment", "Service", "CronJob"}
    for each in found.values():
        kubernetes_validate.validate(each, "1.29", strict=True)
    settings = settings_of(yaml.safe_load(found["ConfigMap"]["data"]["config.yaml"]), monkeypatch)
    (container,) = found["Deployment"]["spec"]["template"]["spec"]["containers"]
    assert (settings.metrics_port, settings.log_file_prefix, settings.log_format) == (PORT, "", "json")
    assert container["ports"] == [{"name": "metrics", "containerPort": PORT}]
    assert {container[f"{probe}Probe"]["httpGet"]["path"] for probe in ("startup", "liveness")} == {"/healthz"}
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
    (job,) = found["CronJob"]["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    assert [parsed(shlex.join(["pydbsync", *each["args"]])) for each in (container, job)] == ["run", "verify"]


def test_the_container_runs_a_command_that_there_is_and_is_asked_for_its_health(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = (DEPLOY / "Containerfile").read_text(encoding="utf-8")
    words = re.findall(r'"([^"]+)"', re.findall(r"^(?:ENTRYPOINT|CMD) (.+)$", text, re.MULTILINE)[0])
    words += re.findall(r'"([^"]+)"', re.findall(r"^CMD (.+)$", text, re.MULTILINE)[-1])
    assert parsed(shlex.join(words)) == "run"
    copied = " ".join(re.findall(r"^COPY (?!--)(.+) /src", text, re.MULTILINE)).split()
    sent = (REPOSITORY / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert {line.removeprefix("!") for line in sent if line.startswith("!")} == set(copied)
    compose = yaml.safe_load((REPOSITORY / "compose.yaml").read_text(encoding="utf-8"))
    service = compose["services"]["pydbsync"]
    assert (REPOSITORY / service["build"]["dockerfile"]).is_file()
    assert parsed(f"pydbsync {service['command']}") == "run"
    given: dict[str, Any] = {}
    exec(compose["configs"]["pydbsync"]["content"], {}, given)
    assert settings_of(given, monkeypatch).metrics_port == PORT
    for asked in (text, str(service["healthcheck"]["test"])):
        assert f"127.0.0.1:{PORT}/" in asked
    assert all(name in compose["services"] for name in service["depends_on"])


def test_logrotate_takes_its_file_and_the_next_line_is_in_a_new_one(tmp_path: Path) -> None:
    text = (DEPLOY / "logrotate" / "pydbsync").read_text(encoding="utf-8")
    rules = tmp_path / "rules"
    rules.write_text(text.replace("/var/log/pydbsync", str(tmp_path)).replace("    su pydbsync pydbsync\n", ""))
    code = f"""
import subprocess
from pydbsync.config.settings import settings_from_mapping
from pydbsync.process.logs import start_logging
given = {{"log_file_prefix": "{tmp_path}/%s.log", "log_file_bytes": 0}}
log = start_logging(settings_from_mapping(given, require=())[0], "main", terminal=False)
log.info("one")
rotate = ["{find_program("logrotate")}", "-f", "-s", "{tmp_path}/state", "{rules}"]
subprocess.run(rotate, check=True)
log.info("two")
"""
    rules.chmod(0o644)
    run(sys.executable, "-c", code, cwd=REPOSITORY)
    assert [path.read_text().split(">> ")[1].strip() for path in (tmp_path / "main.log.1", tmp_path / "main.log")] == [
        "one", "two"
    ]  # fmt: skip
