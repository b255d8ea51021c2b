"""YAML read so that every value is the text that was written; what is a number is for the reader of a field to say.

YAML 1.1, which PyYAML reads, makes booleans of `on` and `no`, dates of 2024-01-01, seconds of 1:30 and other numbers of
010 and 1234567e2. An engine's option or a commit is none of these.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from servewatt.errors import InputError
from servewatt.input_files import check_characters, shown

_NULL = "tag:yaml.org,2002:null"
_MERGE = "tag:yaml.org,2002:merge"
_PLAIN_TAGS = frozenset(
    f"tag:yaml.org,2002:{name}" for name in ("null", "str", "seq", "map", "merge", "bool", "int", "float")
)
_MOST_DEPTH = 20
_MOST_VALUES = 100_000
"""In all, those of an alias counted each time it is used."""
_HINT = "see examples/demo.yaml"


class _Loader(yaml.SafeLoader):
    """Tells a missing value and a merge key from text, and nothing else."""


_Loader.yaml_implicit_resolvers = {
    first: [rule for rule in rules if rule[0] in (_NULL, _MERGE)]
    for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def read_yaml(text: str, path: Path) -> Any:
    """The one document in `text`: dictionaries, lists, texts and None; None too for an empty one.

    Raises InputError, with the line, for what is not YAML, for a key given twice, for tags other than those of text and
    numbers, for aliases that hold themselves or multiply, and for more than one document.
    """
    name = shown(path)
    try:
        node = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        problem = " ".join(filter(None, (error.context, error.problem)))
        hint = "indent by spaces, not by tabs" if "'\\t'" in problem else _HINT
        mark = error.problem_mark or error.context_mark
        where = f"{name}, line {mark.line + 1}" if mark is not None else name
        raise InputError(f"{where}: not YAML: {problem}", hint) from error
    except yaml.YAMLError as error:
        raise InputError(f"{name} is not YAML: {' '.join(str(error).split())}", _HINT) from error
    except RecursionError as error:
        raise InputError(f"{name}: nested too deep", _HINT) from error
    except ValueError as error:  # an escape beyond Unicode, such as \U00110000
        raise InputError(f"{name} is not YAML: {error}", _HINT) from error
    return None if node is None else _Values(name).of(node)


class _Values:
    def __init__(self, name: str) -> None:
        self._name = name
        self._left = _MOST_VALUES

    def of(self, node: yaml.Node, depth: int = 0) -> Any:
        self._left -= 1
        if self._left < 0:
            raise self._error(node, f"more than {_MOST_VALUES} values", "use fewer aliases")
        if depth > _MOST_DEPTH:
            raise self._error(node, "nested too deep", "an alias may not stand within what it names")
        if node.tag not in _PLAIN_TAGS:
            raise self._error(node, f"the tag {_short(node.tag)} is not taken", "write the value without a tag")
        if isinstance(node, yaml.ScalarNode):
            return None if node.tag == _NULL else self._text(node)
        if isinstance(node, yaml.SequenceNode):
            return [self.of(item, depth + 1) for item in node.value]
        merged: dict[str, Any] = {}
        own: dict[str, Any] = {}
        lines: dict[str, int] = {}
        for key, value in node.value:
            if key.tag == _MERGE:
                for more in self._merged(value, depth):
                    merged = {**more, **merged}
                continue
            text = self._key(key)
            if text in own:
                raise self._error(
                    key, f"the key {text!r} is given twice, first in line {lines[text]}", "keep one of the two"
                )
            own[text], lines[text] = self.of(value, depth + 1), key.start_mark.line + 1
        return {**merged, **own}

    def _merged(self, node: yaml.Node, depth: int) -> Iterator[dict[str, Any]]:
        """The mappings that `<<` takes in; the first that has a key decides."""
        for part in node.value if isinstance(node, yaml.SequenceNode) else [node]:
            found = self.of(part, depth + 1)
            if not isinstance(found, dict):
                raise self._error(part, "<< takes a mapping, or a list of them", _HINT)
            yield found

    def _key(self, node: yaml.Node) -> str:
        if not isinstance(node, yaml.ScalarNode) or node.tag not in _PLAIN_TAGS:
            raise self._error(node, "a key must be text", _HINT)
        return self._text(node)

    def _text(self, node: yaml.ScalarNode) -> str:
        # JSON writes an emoji as two escapes, which YAML does not put together.
        text = str(node.value).encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
        check_characters(text, f"{self._name}, line {node.start_mark.line + 1}")
        return text

    def _error(self, node: yaml.Node, what: str, hint: str) -> InputError:
        return InputError(f"{self._name}, line {node.start_mark.line + 1}: {what}", hint)


def _short(tag: str) -> str:
    return tag.replace("tag:yaml.org,2002:", "!!")[:60]
