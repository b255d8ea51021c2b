from __future__ import annotations

import os
import subprocess
import sys

import pytest

from servewatt.errors import InputError
from servewatt.study.protocol.prompts import HUMANEVAL, Recipe, Rule, Source, cut_points, differences, draw_line

PROMPT = "import os\n\n\ndef f(x):\n    one two three four five six\n  a b c d e\n"


def words(text: str) -> list[tuple[int, int]]:
    """A tokenizer that takes each word with the white space before it."""
    spans, begin, inside = [], 0, False
    for place, letter in enumerate(text):
        if letter.isspace() and inside:
            spans.append((begin, place))
            begin, inside = place, False
        inside = inside or not letter.isspace()
    return [*spans, (begin, len(text))] if inside else spans


def draws(count: int, *, least: int, most: int, prompt: str = PROMPT) -> list[str]:
    return [draw_line(f"t/{n}", prompt, words, seed=0, least=least, most=most) for n in range(count)]


def test_every_prompt_is_the_beginning_of_a_line_and_keeps_its_white_space() -> None:
    lines = set(PROMPT.split("\n"))
    made = set(draws(300, least=3, most=5))
    assert made == {
        "    one two three",
        "    one two three four",
        "    one two three four five",
        "  a b c",
        "  a b c d",
        "  a b c d e",
    }
    assert made & lines == {"  a b c d e"}


def test_the_share_of_each_line_is_the_study_s() -> None:
    """Numbers from one below the least to the line's length are equally likely, and refused outside 3 to 4.

    A line of six words gives 2 to 6, of which 3 and 4 stay: 2/5. One of five words gives 2 to 5: 2/4. So the line of
    six is drawn (2/5) / (2/5 + 2/4) = 4/9 of the time.
    """
    made = draws(9000, least=3, most=4)
    long = sum(text.startswith("    one") for text in made)
    assert long == pytest.approx(4000, abs=3 * (9000 * 4 / 9 * 5 / 9) ** 0.5)
    assert sum(len(words(text)) == 3 for text in made) == pytest.approx(4500, abs=3 * (9000 / 4) ** 0.5)


def test_the_seed_and_the_task_decide_and_nothing_else() -> None:
    once = draws(20, least=3, most=5)
    assert once == draws(20, least=3, most=5)
    assert once[:5] == draws(5, least=3, most=5)
    other = [draw_line(f"t/{n}", PROMPT, words, seed=1, least=3, most=5) for n in range(20)]
    assert other != once


def test_the_draw_does_not_depend_on_python_s_hash_seed() -> None:
    code = "from tests.study.protocol.test_prompts import draws; print(draws(20, least=3, most=5))"
    printed = {
        subprocess.run(
            [sys.executable, "-c", code],
            check=True,
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": "."},
        ).stdout
        for seed in ("0", "1")
    }
    assert printed == {f"{draws(20, least=3, most=5)}\n"}


def test_a_known_draw_so_that_published_prompts_can_be_made_again() -> None:
    assert draws(6, least=3, most=5) == [
        "  a b c d",
        "  a b c d",
        "    one two three four five",
        "  a b c d e",
        "    one two three",
        "    one two three",
    ]


def test_a_task_without_a_long_line_is_refused() -> None:
    with pytest.raises(InputError, match="no line of t/0 can be cut to 7 to 9 tokens: its longest has 6") as caught:
        draws(1, least=7, most=9)
    assert "--tokens 6-9" in caught.value.hint
    with pytest.raises(InputError):
        draws(1, least=1, most=2, prompt="\n  \n\n")


def test_a_character_is_never_split() -> None:
    assert cut_points([(0, 1), (1, 2), (1, 2), (2, 3)]) == {1: 1, 3: 2, 4: 3}
    assert cut_points([]) == {}


def test_recipes_are_compared_field_by_field() -> None:
    recipe = Recipe(Rule.LINE, Source(HUMANEVAL, "00", "c"), None, "bundled", "11", seed=0)
    assert differences(recipe, recipe) == []
    other = Recipe(Rule.LINE, Source(HUMANEVAL, "00", "c"), 5, "bundled", "11", seed=1)
    assert differences(recipe, other) == ["limit: None there, 5 asked", "seed: 0 there, 1 asked"]
