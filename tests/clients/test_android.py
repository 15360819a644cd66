"""The file for Android apps, compiled against stand-ins for the Android SDK, which is not to be had here."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.clients.built import BUILD, LANGUAGES, LIMIT, build
from tests.kit.markdown import TOP, tracked

pytestmark = [pytest.mark.clients, pytest.mark.timeout(900)]


def test_the_file_for_android_compiles_against_stand_ins() -> None:
    kotlin = build(next(one for one in LANGUAGES if one.name == "kotlin"))
    directory = BUILD / "android"
    shutil.rmtree(directory, ignore_errors=True)
    shutil.copytree(kotlin.directory, directory, ignore=shutil.ignore_patterns("build"))
    sources = directory / "src/main/kotlin/android"
    sources.mkdir()
    for path in tracked("tests/clients/android/*.kt", "clients/kotlin/android/*.kt"):
        shutil.copy(path, sources)
    command = ["mvn", "-q", "-B", "-ntp", f"-Dprotos={TOP / 'proto'}", "compile"]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=LIMIT, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert Path(directory, "build/classes/gossipcontrol/android/DeviceReporter.class").is_file()
