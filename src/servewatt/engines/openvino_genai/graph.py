"""The graph of engine openvino with the inputs and output that OpenVINO GenAI's pipelines name.

The exported graph makes mask and positions of `padding` and the cache's length; a pipeline hands both in. So
`attention_mask` and `position_ids` take the places of what was made, and the logits stay as they are before the last
position is picked: (batch, 1, vocabulary). Only the text of graph.xml changes; nothing is added that computes, and the
weights are those of the same graph.bin.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from servewatt.errors import RefusedError

NO_SELECTABLE_CACHE = frozenset({"BloomForCausalLM"})
"""Architectures whose exported graph computes attention by several operators."""


def no_selectable_cache() -> RefusedError:
    """The refusal of a graph whose cache has no rows to select."""
    return RefusedError(
        "openvino-genai: attention is not one operator in this architecture's graph, so its cache has no rows to "
        "select, and a pipeline would run another graph than engine openvino",
        "use engine openvino",
    )


def pipeline_graph(path: Path) -> bytes:
    """The text of an `openvino_model.xml` made of the `graph.xml` at `path`.

    RefusedError for a graph that keeps no cache whose rows a pipeline can select, or that is of another form.
    """
    graph = _Graph(ElementTree.parse(path).getroot())
    if graph.parameter("beam_idx") is None:
        raise no_selectable_cache()
    ids = graph.one(graph.parameter("ids"))
    _rename(ids, "input_ids")
    padding = graph.one(graph.parameter("padding"))
    users = [user for column in graph.users(padding) for user in graph.users(column)]
    graph.replace(graph.result_of(users, "GreaterEqual", "Convert"), graph.add_parameter("attention_mask"))
    graph.replace(graph.result_of(users, "Subtract", "Maximum"), graph.add_parameter("position_ids"))
    graph.remove(padding)
    graph.output_before_last()
    return ElementTree.tostring(graph.root)


def _rename(parameter: Element, name: str) -> None:
    parameter.set("name", name)
    _port(parameter).set("names", name)


def _port(layer: Element) -> Element:
    """The only output of a layer."""
    port = layer.find("output/port")
    assert port is not None
    return port


class _Graph:
    """Layers and edges of an IR file; https://docs.openvino.ai/2025/documentation/openvino-ir-format.html."""

    def __init__(self, root: Element) -> None:
        self.root = root
        layers, edges = root.find("layers"), root.find("edges")
        assert layers is not None
        assert edges is not None
        self._layers, self._edges = layers, edges
        self._by_id = {layer.attrib["id"]: layer for layer in layers}

    def parameter(self, name: str) -> Element | None:
        """The input called `name`."""
        inputs = (layer for layer in self._layers if layer.get("type") == "Parameter")
        return next((layer for layer in inputs if name in _port(layer).get("names", "").split(",")), None)

    def one(self, layer: Element | None) -> Element:
        """The layer; RefusedError if the form of the graph does not have it."""
        if layer is None:
            raise RefusedError("openvino-genai: the graph is not of the form that is known", "use engine openvino")
        return layer

    def users(self, layer: Element) -> list[Element]:
        """The layers that read what `layer` yields."""
        return [self._by_id[edge.attrib["to-layer"]] for edge in self._edges_from(layer)]

    def result_of(self, users: list[Element], kind: str, result: str) -> Element:
        """The layer of type `result` that alone reads the only one of type `kind` among `users`."""
        found = [user for user in users if user.get("type") == kind]
        readers = self.users(self.one(found[0] if len(found) == 1 else None))
        return self.one(readers[0] if [reader.get("type") for reader in readers] == [result] else None)

    def add_parameter(self, name: str) -> Element:
        """A new input of int64, shape (batch, any)."""
        number = str(1 + max(map(int, self._by_id)))
        attributes = {"id": number, "name": name, "type": "Parameter", "version": "opset1"}
        layer = ElementTree.SubElement(self._layers, "layer", attributes)
        ElementTree.SubElement(layer, "data", shape="?,?", element_type="i64")
        output = ElementTree.SubElement(layer, "output")
        port = ElementTree.SubElement(output, "port", id="0", precision="I64", names=name)
        for _ in range(2):
            ElementTree.SubElement(port, "dim").text = "-1"
        self._by_id[number] = layer
        return layer

    def replace(self, old: Element, new: Element) -> None:
        """Let the readers of `old` read `new`; what nobody reads any more is dropped when the graph is read."""
        for edge in list(self._edges_from(old)):
            edge.set("from-layer", new.attrib["id"])
            edge.set("from-port", _port(new).attrib["id"])

    def remove(self, layer: Element) -> None:
        """Take `layer` away with the edges from it."""
        for edge in list(self._edges_from(layer)):
            self._edges.remove(edge)
        self._layers.remove(layer)

    def output_before_last(self) -> None:
        """Yield the logits as they are before the last position is picked."""
        results = [layer for layer in self._layers if layer.get("type") == "Result"]
        into = self._edge_into(self.one(results[0] if len(results) == 1 else None), 0)
        pick = self._by_id[into.attrib["from-layer"]]
        before = self._edge_into(self.one(pick if pick.get("type") == "Gather" else None), 0)
        into.attrib.update({key: before.attrib[key] for key in ("from-layer", "from-port")})
        source = self._by_id[before.attrib["from-layer"]]
        _port(source).set("names", _port(pick).attrib.pop("names"))

    def _edges_from(self, layer: Element) -> Iterator[Element]:
        return (edge for edge in self._edges if edge.get("from-layer") == layer.get("id"))

    def _edge_into(self, layer: Element, place: int) -> Element:
        """The edge into the input of `layer` at `place`; ports are numbered from the first input on."""
        into = [edge for edge in self._edges if edge.get("to-layer") == layer.get("id")]
        return sorted(into, key=lambda edge: int(edge.attrib["to-port"]))[place]
