"""Each bundled problem is solved by its own solution, and not by an empty one."""

import ast
import doctest
from typing import Any

import pytest

from servewatt.workloads.prompts import Problem, read

PROBLEMS = read("bundled").problems
EACH = pytest.mark.parametrize("problem", PROBLEMS, ids=lambda problem: problem.entry_point)


def run(source: str) -> dict[str, Any]:
    namespace: dict[str, Any] = {"__name__": "problem"}
    exec(compile(source, "problem", "exec"), namespace)
    return namespace


def check(problem: Problem, solution: str) -> None:
    """Run the problem's test on `solution`, the way HumanEval does."""
    run(f"{problem.prompt}{solution}\n{problem.test}\ncheck({problem.entry_point})\n")


def indentation(problem: Problem) -> str:
    first = problem.canonical_solution.splitlines()[0]
    return first[: len(first) - len(first.lstrip())]


def test_there_are_enough() -> None:
    assert len(PROBLEMS) >= 48
    assert [problem.task_id for problem in PROBLEMS] == [f"servewatt/{number}" for number in range(len(PROBLEMS))]
    assert len({problem.entry_point for problem in PROBLEMS}) == len(PROBLEMS)


@EACH
def test_the_solution_passes(problem: Problem) -> None:
    check(problem, problem.canonical_solution)


@EACH
@pytest.mark.parametrize("body", ["return None", "return 0", "return ''", "raise ValueError"])
def test_a_wrong_solution_fails(problem: Problem, body: str) -> None:
    wrong = run(f"{problem.prompt}{indentation(problem)}{body}\n")[problem.entry_point]
    tests = run(problem.test)
    with pytest.raises((AssertionError, TypeError, ValueError, AttributeError)):
        tests["check"](wrong)


@EACH
def test_the_test_checks_enough(problem: Problem) -> None:
    assertions = [node for node in ast.walk(ast.parse(problem.test)) if isinstance(node, ast.Assert)]
    assert len(assertions) >= 4


@EACH
def test_the_examples_in_the_docstring_hold(problem: Problem) -> None:
    namespace = run(problem.prompt + problem.canonical_solution)
    runner = doctest.DocTestRunner(verbose=False)
    for found in doctest.DocTestFinder().find(namespace[problem.entry_point], problem.entry_point, globs=namespace):
        runner.run(found)
    assert runner.failures == 0


@EACH
def test_the_prompt_ends_where_an_answer_begins(problem: Problem) -> None:
    assert problem.prompt.endswith('"""\n')
    docstring = ast.get_docstring(last_function(ast.parse(problem.prompt)))
    assert docstring is not None
    assert docstring[0].isupper()


def last_function(tree: ast.Module) -> ast.FunctionDef:
    node = tree.body[-1]
    last = node.body[-1] if isinstance(node, ast.ClassDef) else node
    assert isinstance(last, ast.FunctionDef)
    return last
