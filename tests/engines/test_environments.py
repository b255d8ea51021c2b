"""Environments of engines: built without a network from tiny packages, found, refused when broken, run in."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import pytest

import servewatt
from servewatt import engines
from servewatt.engines.environments import state
from servewatt.engines.environments.build import build, log_of, reason, remove
from servewatt.engines.environments.doctor import Condition, examine
from servewatt.engines.environments.probe import modules
from servewatt.errors import InputError, UnavailableError
from servewatt.harness.derive import derive
from servewatt.harness.runner import run_trials
from servewatt.records import Result, Status, Via
from tests import processes_of
from tests.engines.tiny_packages import MARK, tiny_entry, tiny_sdist, tiny_wheel
from tests.harness.builders import QUICK, fake, model, run

NAME = "fake"
PIN = "tiny-engine==1.0"


@pytest.fixture(autouse=True)
def borrowed_dependencies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "worker_requirements", lambda _pinned=(): ())
    monkeypatch.setitem(engines.ENGINES, NAME, tiny_entry(PIN))


def made(wheels: Path, *requirements: str, **variables: str) -> state.EngineEnvironment:
    arguments = ["--no-index", "--find-links", str(wheels)]
    return build(NAME, requirements or (PIN,), variables, python=sys.executable, pip_arguments=arguments)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of all environments with one built in it."""
    folder = tmp_path_factory.mktemp("template")
    tiny_wheel(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_DATA_HOME", str(folder / "data"))
        patch.setattr(state, "worker_requirements", lambda _pinned=(): ())
        made(folder)
        return state.root()


@pytest.fixture
def built(template: Path) -> state.EngineEnvironment:
    shutil.copytree(template, state.root(), symlinks=True)
    found = found_again()
    assert found is not None
    return found


def found_again(*requirements: str) -> state.EngineEnvironment | None:
    return state.find(NAME, requirements or (PIN,), {})


def test_what_was_built_is_found_and_its_manifest_tells_how(built: state.EngineEnvironment) -> None:
    assert built.problem == ""
    assert built.version("Tiny.Engine") == "1.0"
    assert engines.ENGINES[NAME].version() == "1.0"
    manifest = json.loads((state.root() / NAME / "manifest.json").read_text())
    assert manifest["requirements"] == [PIN]
    assert manifest["packages"]["tiny-engine"] == "1.0"
    assert "pip" not in manifest["packages"]
    assert manifest["servewatt"] == servewatt.__version__
    assert manifest["python"].split(".")[:2] == [str(part) for part in sys.version_info[:2]]


def trial(folder: Path, via: Via = Via.PROCESS) -> Result:
    procedure = replace(QUICK, blocks=1)
    (result,) = run_trials(run(folder, [replace(fake(), via=via)], procedure), [])
    return result


@pytest.mark.parametrize("via", Via)
def test_trials_run_in_the_environment_with_the_running_servewatt(
    built: state.EngineEnvironment, tmp_path: Path, via: Via, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "servewatt").mkdir()
    (tmp_path / "servewatt" / "__init__.py").write_text("raise RuntimeError('of the Python path')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    result = trial(tmp_path, via)
    assert result.status is Status.OK, result.reason + result.log
    # The worker and, behind HTTP, the server; the sampler too.
    processes = set(re.findall(rf"{MARK} {re.escape(str(built.folder))} as (\d+)", result.log))
    assert len(processes) == (3 if via is Via.HTTP else 2)
    done = subprocess.run(
        [built.python, "-c", "import servewatt; print(servewatt.__path__[0])"],
        env=built.variables(os.environ),
        capture_output=True,
        text=True,
        check=True,
    )
    assert Path(done.stdout.strip()).resolve() == Path(servewatt.__file__).parent.resolve()


def test_derived_files_are_made_in_the_environment(built: state.EngineEnvironment, tmp_path: Path) -> None:
    derive(model(tmp_path), fake())
    (built.folder / "bin" / "python").unlink()
    with pytest.raises(UnavailableError, match="interpreter is gone"):
        derive(model(tmp_path), fake())


def rename_metadata(environment: state.EngineEnvironment) -> None:
    (old,) = environment.folder.glob("lib/*/site-packages/tiny_engine-1.0.dist-info")
    old.rename(old.with_name("tiny_engine-1.1.dist-info"))


def delete_metadata(environment: state.EngineEnvironment) -> None:
    (old,) = environment.folder.glob("lib/*/site-packages/tiny_engine-1.0.dist-info")
    shutil.rmtree(old)


def another_python(environment: state.EngineEnvironment) -> None:
    other = environment.folder / "python3.99"
    shutil.copy(sys.executable, other)
    environment.python.unlink()
    environment.python.symlink_to(other)


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (rename_metadata, "tiny-engine was 1.0 and is now 1.1"),
        (delete_metadata, "tiny-engine 1.0 is gone"),
        (another_python, "python3.99"),
        (lambda e: e.python.unlink(), "its interpreter is gone"),
        (lambda e: (e.folder / "pyvenv.cfg").unlink(), "pyvenv.cfg is gone"),
        (lambda e: shutil.rmtree(e.folder), "its interpreter is gone"),
        (lambda _e: (state.root() / NAME / "manifest.json").write_text("{}"), "cannot be read"),
    ],
)
def test_a_broken_environment_is_refused_with_the_command_that_mends_it(
    built: state.EngineEnvironment, tmp_path: Path, harm: object, words: str
) -> None:
    harm(built)  # type: ignore[operator]
    with pytest.raises(UnavailableError, match="is broken") as caught:
        engines.check(fake())
    assert words in caught.value.message
    assert caught.value.hint == "servewatt engines add fake"
    result = trial(tmp_path)
    assert result.status is Status.REFUSED
    assert words in result.reason
    assert result.hint == "servewatt engines add fake"


def test_other_pins_or_settings_than_it_was_built_with_are_noticed(built: state.EngineEnvironment) -> None:
    other = found_again("tiny-engine==2.0")
    assert other is not None
    assert other.problem == "this servewatt asks for tiny-engine==2.0"
    settings = state.find(NAME, (PIN,), {"FLAGS": "-O3"})
    assert settings is not None
    assert "other settings" in settings.problem


def test_a_new_dependency_of_the_worker_is_noticed(
    built: state.EngineEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state, "worker_requirements", lambda _pinned=(): ("new-thing==1.0",))
    found = found_again()
    assert found is not None
    assert found.problem == "this servewatt needs new-thing in it"


def test_without_an_environment_the_engine_is_not_installed(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="is not installed") as caught:
        engines.check(fake())
    assert caught.value.hint == "servewatt engines add fake"
    assert engines.interpreter(NAME, {"A": "1"}) == (sys.executable, {"A": "1"})
    assert not state.root().exists()


def test_a_build_that_fails_tells_why_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError) as caught:
        made(tmp_path)
    assert "exit code 1: No matching distribution found for tiny-engine==1.0" in caught.value.message
    assert str(log_of(NAME)) in caught.value.hint
    assert "tiny-engine" in log_of(NAME).read_text()
    assert not (state.root() / NAME).exists()
    assert found_again() is None


def test_a_rebuild_that_fails_leaves_the_predecessor(built: state.EngineEnvironment, tmp_path: Path) -> None:
    with pytest.raises(UnavailableError):
        made(tmp_path, "tiny-engine==2.0")
    found = found_again()
    assert found is not None
    assert found.problem == ""
    assert {path.name for path in (state.root() / NAME).iterdir()} == {"manifest.json", built.folder.name}


def test_a_rebuild_takes_the_place_of_the_predecessor_and_of_what_a_killed_build_left(
    built: state.EngineEnvironment, tmp_path: Path
) -> None:
    (state.root() / NAME / "half" / "bin").mkdir(parents=True)
    tiny_wheel(tmp_path, "2.0")
    after = made(tmp_path, "tiny-engine==2.0")
    assert after.problem == ""
    assert after.version("tiny-engine") == "2.0"
    assert {path.name for path in (state.root() / NAME).iterdir()} == {"manifest.json", after.folder.name}


BACKEND = """
import os, sys
sys.path.insert(0, {helper!r})
from tests.engines.tiny_packages import tiny_wheel
from pathlib import Path
def build_wheel(folder, config_settings=None, metadata_directory=None):
    return tiny_wheel(Path(folder), code="BUILT_WITH = " + repr(os.environ["FLAGS"])).name
"""


def test_source_is_built_with_the_entry_s_variables(tmp_path: Path) -> None:
    repository = Path(__file__).parents[2]
    helper = f"{repository}"
    source = Path(servewatt.__file__).parents[1]
    backend = BACKEND.format(helper=helper).replace("from tests", f"sys.path.insert(1, {str(source)!r})\nfrom tests", 1)
    tiny_sdist(tmp_path, backend)
    after = made(tmp_path, FLAGS="no tiles")
    (module,) = after.folder.glob("lib/*/site-packages/tiny_engine/__init__.py")
    assert module.read_text() == "BUILT_WITH = 'no tiles'"


def test_what_the_user_has_set_in_such_a_variable_comes_after(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repository, source = Path(__file__).parents[2], Path(servewatt.__file__).parents[1]
    backend = BACKEND.format(helper=f"{repository}")
    tiny_sdist(tmp_path, backend.replace("from tests", f"sys.path.insert(1, {str(source)!r})\nfrom tests", 1))
    monkeypatch.setenv("FLAGS", "-DCUDA=ON")
    after = made(tmp_path, FLAGS="-DTILES=OFF")
    (module,) = after.folder.glob("lib/*/site-packages/tiny_engine/__init__.py")
    assert module.read_text() == "BUILT_WITH = '-DTILES=OFF -DCUDA=ON'"
    assert after.problem == ""


def test_source_that_does_not_build_is_a_reason(tmp_path: Path) -> None:
    tiny_sdist(tmp_path, "def build_wheel(*_): raise RuntimeError('no compiler')")
    with pytest.raises(UnavailableError) as caught:
        made(tmp_path)
    assert "pip install, exit code 1: RuntimeError: no compiler" in caught.value.message
    assert not (state.root() / NAME).exists()


def test_a_killed_parent_leaves_nothing_of_a_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(processes_of.MARK, mark := processes_of.new_mark())
    compilers = "import subprocess, time\ndef build_wheel(*_):\n"
    compilers += "    subprocess.Popen(['sleep', '600'], start_new_session=True); time.sleep(600)\n"
    tiny_sdist(tmp_path, compilers)
    builds = (
        "import sys; from servewatt.engines.environments import build, state\n"
        "state.worker_requirements = lambda pinned=(): ()\n"
        f"build.build('fake', ['{PIN}'], {{}}, python=sys.executable,\n"
        f"    pip_arguments=['--no-index', '--find-links', {str(tmp_path)!r}])"
    )
    parent = subprocess.Popen([sys.executable, "-c", builds])
    try:
        assert processes_of.wait_until(lambda: "sleep" in processes_of.names(mark), 60)
    finally:
        parent.kill()
        parent.wait()
    assert processes_of.wait_until(lambda: not processes_of.marked(mark), 20), processes_of.names(mark)


def test_two_processes_do_not_build_the_same_environment(tmp_path: Path) -> None:
    state.root().mkdir(parents=True)
    with (state.root() / f".{NAME}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(UnavailableError, match="another process"):
            made(tmp_path)


def test_an_interpreter_that_does_not_do_is_told_before_anything_is_built(tmp_path: Path) -> None:
    old = tmp_path / "python3.9"
    old.write_text("#!/bin/sh\necho 3.9.18\n")
    old.chmod(0o755)
    for python, words in ((str(old), "3.9.18"), ("no-such-python", "there is no"), ("/bin/false", "does not run")):
        with pytest.raises(InputError, match=words):
            build(NAME, (PIN,), {}, python=python)
    assert not state.root().exists()


def test_an_interpreter_without_venv_is_a_reason(tmp_path: Path) -> None:
    python = tmp_path / "python3.12"
    python.write_text('#!/bin/sh\ncase "$*" in *venv*) echo No module named venv; exit 1;; esac\necho 3.12.1\n')
    python.chmod(0o755)
    with pytest.raises(UnavailableError, match="python -m venv, exit code 1: No module named venv") as caught:
        build(NAME, (PIN,), {}, python=str(python))
    assert str(log_of(NAME)) in caught.value.hint
    assert "python3-venv" in caught.value.hint
    assert not (state.root() / NAME).exists()


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "file"))
    with pytest.raises(UnavailableError, match="cannot write") as caught:
        made(tmp_path)
    assert "XDG_DATA_HOME" in caught.value.hint


def test_removal_leaves_nothing_and_can_be_done_once(built: state.EngineEnvironment) -> None:
    remove(NAME)
    assert found_again() is None
    assert not (state.root() / NAME).exists()
    with pytest.raises(InputError, match="has no environment"):
        remove(NAME)


@pytest.mark.parametrize(
    ("log", "last"),
    [
        ("Collecting a\nERROR: Could not find a version\nERROR: No matching distribution found for a\n", "No matching"),
        ("ERROR: Cannot install a and b\nERROR: ResolutionImpossible: for help visit x\n", "Cannot install a and b"),
        ("Traceback\nValueError: wrong\n\n[notice] A new release of pip\n", "ValueError: wrong"),
        (
            "  error: x\n  │ exit code: 1\n      ninja: stopped\n      [end of output]\n"
            "  note: y\n  ERROR: Failed building wheel for a\n",
            "Failed building wheel for a: ninja: stopped",
        ),
        ("", "nothing was said"),
    ],
)
def test_the_reason_is_the_last_line_that_says_something(log: str, last: str) -> None:
    assert reason(log).startswith(last)


def test_the_doctor_imports_the_engine_where_it_runs(built: state.EngineEnvironment) -> None:
    found = examine(NAME)
    assert (found.condition, found.version, found.problem) == (Condition.OK, "1.0", "")
    assert found.size_bytes is not None
    assert found.size_bytes > 1_000_000  # pip alone
    (module,) = built.folder.glob("lib/*/site-packages/tiny_engine/__init__.py")
    for code, words in (
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGILL)", "SIGILL"),
    ):
        module.write_text(code)
        found = examine(NAME)
        assert found.condition is Condition.BROKEN
        assert words in found.problem
        assert found.remedy == "servewatt engines add fake --rebuild"


def test_the_doctor_tells_what_is_not_installed_or_broken(built: state.EngineEnvironment) -> None:
    rename_metadata(built)
    found = examine(NAME)
    assert (found.condition, found.remedy) == (Condition.BROKEN, "servewatt engines add fake")
    remove(NAME)
    found = examine(NAME)
    assert (found.condition, found.remedy) == (Condition.ABSENT, "servewatt engines add fake")


def test_modules_of_a_distribution() -> None:
    assert modules(metadata.distribution("psutil")) == ["psutil"]
    assert modules(metadata.distribution("nvidia-ml-py")) == ["example", "pynvml"]


def test_names_are_compared_as_packaging_does() -> None:
    assert state.name_of("Llama_CPP.python [server]==0.3") == "llama-cpp-python"
    assert state.name_of("torch @ file:///x.whl") == "torch"
    assert state.name_of("numpy>=2; python_version > '3'") == "numpy"
