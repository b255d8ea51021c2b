from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from servewatt.errors import InputError
from servewatt.workloads import prompts as module
from servewatt.workloads.prompts import Problem, PromptSet, problem_lines, read, read_problems


def problem(number: int) -> dict[str, str]:
    return {
        "task_id": f"t/{number}",
        "prompt": f"def f{number}(x):\n",
        "entry_point": f"f{number}",
        "canonical_solution": "    return x\n",
        "test": "def check(candidate):\n    assert candidate(1) == 1\n",
    }


def jsonl(count: int) -> str:
    return "".join(json.dumps(problem(number)) + "\n" for number in range(count))


@pytest.fixture(autouse=True)
def bundled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "problems.jsonl"
    file.write_text(jsonl(10))
    monkeypatch.setattr(module, "BUNDLED_PROBLEMS", file)


def test_bundled_problems() -> None:
    whole, first = read("bundled"), read("bundled:3")
    assert whole.name == "bundled"
    assert len(whole.texts) == len(whole.problems) == 10
    assert whole.problems[0] == Problem(**problem(0))
    assert first == PromptSet("bundled:3", whole.texts[:3], whole.problems[:3])


@pytest.mark.parametrize("source", ["bundled:0", "bundled:-1", "bundled:many", "bundled:", "bundled:11"])
def test_a_wrong_number_of_bundled_problems(source: str) -> None:
    with pytest.raises(InputError) as caught:
        read(source)
    assert caught.value.hint


def test_a_sample_is_seeded_and_ordered() -> None:
    sample = read("bundled", sample=4, seed=1)
    assert sample == read("bundled", sample=4, seed=1)
    assert sample.texts != read("bundled", sample=4, seed=2).texts
    assert [p.prompt for p in sample.problems] == list(sample.texts)
    order = [read("bundled").texts.index(text) for text in sample.texts]
    assert order == sorted(set(order))
    assert sample.name == "bundled (sample of 4, seed 1)"
    for count in (0, 11):
        with pytest.raises(InputError, match=f"cannot draw {count} of 10"):
            read("bundled", sample=count)


def test_a_text_file_line_by_line(tmp_path: Path) -> None:
    file = tmp_path / "prompts.txt"
    file.write_bytes(b"\xef\xbb\xbf    def f():\r\n\n   \nsecond\x0bline \xe2\x80\xa8 still\nlast")
    assert read(str(file)) == PromptSet("prompts.txt", ("    def f():", "second\x0bline \u2028 still", "last"))


@pytest.mark.parametrize("content", [b"", b"\n\n  \n"])
@pytest.mark.parametrize("name", ["p.txt", "p.jsonl"])
def test_an_empty_file(tmp_path: Path, content: bytes, name: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match="has no prompts"):
        read(str(tmp_path / name))


def test_a_file_that_is_not_utf8(tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_bytes(b"one\ntwo\nstra\xdfe\n")
    with pytest.raises(InputError, match="line 3 is not UTF-8") as caught:
        read(str(tmp_path / "p.txt"))
    assert "iconv" in caught.value.hint


def test_what_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no file"):
        read(str(tmp_path / "absent.txt"))
    with pytest.raises(InputError, match="is a folder"):
        read(str(tmp_path))


def test_json_lines(tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_text(jsonl(2).replace("\n", "\n\n"))
    (tmp_path / "p.jsonl.gz").write_bytes(gzip.compress(jsonl(2).encode()))
    plain, packed = read(str(tmp_path / "p.jsonl")), read(str(tmp_path / "p.jsonl.gz"))
    assert plain.texts == packed.texts == ("def f0(x):\n", "def f1(x):\n")
    assert plain.problems == packed.problems
    assert plain.name == "p.jsonl"


@pytest.mark.parametrize("name", ["p.json", "p.jsonl", "p.txt", "p"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_problems_are_known_by_their_content(tmp_path: Path, name: str, mark: str) -> None:
    rows = [problem(0), problem(1)]
    forms = (jsonl(2), json.dumps(rows), json.dumps(rows, indent=2), "\n\n".join(json.dumps(r, indent=1) for r in rows))
    for text in forms:
        (tmp_path / name).write_text(mark + text.replace("\n", "\r\n"), encoding="utf-8")
        assert read(str(tmp_path / name)).problems == tuple(Problem(**row) for row in rows)
        (tmp_path / name).write_bytes(gzip.compress(text.encode("utf-16")))
        assert len(read(str(tmp_path / name)).problems) == 2
    (tmp_path / name).write_text(json.dumps(problem(0), indent=2))
    assert read(str(tmp_path / name)).problems == (Problem(**problem(0)),)


def test_objects_with_a_prompt_alone_are_prompts_without_tests(tmp_path: Path) -> None:
    translated = [{"name": "add", "language": "rs", "prompt": "fn add(", "tests": "", "stop_tokens": []}]
    (tmp_path / "p.json").write_text(json.dumps(translated))
    assert read(str(tmp_path / "p.json")) == PromptSet("p.json", ("fn add(",))
    (tmp_path / "p.json").write_text(json.dumps(["def f():\n", "def g():\n"]))
    assert read(str(tmp_path / "p.json")).texts == ("def f():\n", "def g():\n")


@pytest.mark.parametrize(
    ("text", "words", "hint"),
    [
        ('{"task_id": 1, "text": "Write.", "code": "x"}', "it has task_id, text, code", "{prompt: .text}"),
        ('[{"question": "q"}]', "row 1: no text for prompt; it has question", "{prompt: .question}"),
        ('{"data": [{"prompt": "x"}]}', "no text for prompt; it has data", "prompt"),
        ('{"prompt": ["x"]}', "no text for prompt; it has prompt", "prompt"),
        ("[1, 2]", "row 1: not a JSON object", "prompt"),
        ("{}\n", "no text for prompt; it has no fields", "prompt"),
        ('{"prompt": "x"}\nplain\n', "line 2: not JSON", "plain text on a line of its own"),
        ('[{"prompt": "a"}, {"prompt": ""}]', "row 2: the prompt is empty", "remove it"),
    ],
)
def test_json_that_holds_no_prompts_is_not_taken_for_text(tmp_path: Path, text: str, words: str, hint: str) -> None:
    (tmp_path / "p.txt").write_text(text)
    with pytest.raises(InputError) as caught:
        read(str(tmp_path / "p.txt"))
    assert words in caught.value.message
    assert hint in caught.value.hint


def test_text_that_only_begins_like_json_stays_text(tmp_path: Path) -> None:
    (tmp_path / "deep.txt").write_text("[" * 100_000)
    assert read(str(tmp_path / "deep.txt")).texts == ("[" * 100_000,)
    lines = ("[x for x in range(3)]", "{ int a;", "[1, 2]", '"quoted"')
    (tmp_path / "p.txt").write_text("\n".join(lines))
    assert read(str(tmp_path / "p.txt")).texts == lines
    (tmp_path / "p.txt").write_text("\r".join(lines))
    assert read(str(tmp_path / "p.txt")).texts == lines
    (tmp_path / "p.jsonl").write_text("\n".join(lines))
    with pytest.raises(InputError, match=r"p\.jsonl, line 1: not JSON"):
        read(str(tmp_path / "p.jsonl"))


def test_the_shell_s_pipe_has_a_name() -> None:
    reading, writing = os.pipe()
    os.write(writing, b"def f():\n")
    os.close(writing)
    assert read(f"/dev/fd/{reading}") == PromptSet(f"pipe {reading}", ("def f():",))
    os.close(reading)


def test_a_table_is_no_list_of_prompts(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("id,prompt\n1,def f(\n")
    with pytest.raises(InputError, match="would be read as one prompt a line"):
        read(str(tmp_path / "p.csv"))


@pytest.mark.parametrize("field", ["prompt", "test"])
def test_half_a_character_is_named_with_its_line(tmp_path: Path, field: str) -> None:
    (tmp_path / "p.jsonl").write_text(jsonl(1) + json.dumps({**problem(1), field: "cut \ud83d"}) + "\n")
    with pytest.raises(InputError, match=rf"p\.jsonl, line 2: {field} has half of a surrogate pair"):
        read(str(tmp_path / "p.jsonl"))


def test_a_name_that_is_not_utf8_is_written_in_utf8(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"p\xe9.txt")
    path.write_text("def f():\n")
    assert read(str(path)).name == r"p\xe9.txt"


@given(
    st.binary(max_size=120)
    | st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=8) | st.integers(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(list(problem(0))), inner),
        max_leaves=12,
    ).map(lambda value: json.dumps(value).encode())
)
def test_any_content_is_prompts_or_refused(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    for name in ("any.jsonl", "any.txt"):
        path = tmp_path_factory.getbasetemp() / name
        path.write_bytes(content)
        try:
            prompts = read(str(path))
        except InputError:
            continue
        assert all(text.strip() and text.encode() for text in prompts.texts)


def test_a_broken_archive(tmp_path: Path) -> None:
    (tmp_path / "p.jsonl.gz").write_bytes(gzip.compress(jsonl(2).encode())[:-9])
    with pytest.raises(InputError, match="cannot read"):
        read(str(tmp_path / "p.jsonl.gz"))


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", "line 3: not JSON"),
        ("[1]", "line 3: not a JSON object"),
        (json.dumps({**problem(5), "test": None}), "line 3: no text for test"),
        (json.dumps({"prompt": "x"}), "line 3: no text for task_id"),
        (json.dumps({**problem(5), "prompt": "  "}), "line 3: the prompt is empty"),
        (json.dumps(problem(0)), "line 3: t/0 is there twice"),
    ],
)
def test_a_broken_line_is_named(tmp_path: Path, line: str, words: str) -> None:
    (tmp_path / "p.jsonl").write_text(jsonl(2) + line + "\n")
    with pytest.raises(InputError, match=words) as caught:
        read(str(tmp_path / "p.jsonl"))
    assert caught.value.hint


def test_problems_are_written_as_they_are_read(tmp_path: Path) -> None:
    problems = [Problem(**{**problem(0), "prompt": 'def f(x):\n    """➞ ä\u2028"""\n'}), Problem(**problem(1))]
    (tmp_path / "p.jsonl").write_text(problem_lines(problems), encoding="utf-8")
    assert list(read(str(tmp_path / "p.jsonl")).problems) == problems


def test_the_hub_s_table(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pyarrow.Table.from_pylist([problem(0), problem(1)]), tmp_path / "p.parquet")
    assert read_problems(tmp_path / "p.parquet") == [Problem(**problem(0)), Problem(**problem(1))]
    parquet.write_table(pyarrow.Table.from_pylist([{"prompt": "x"}]), tmp_path / "p.parquet")
    with pytest.raises(InputError, match=r"p\.parquet, row 1: no text for task_id"):
        read_problems(tmp_path / "p.parquet")
