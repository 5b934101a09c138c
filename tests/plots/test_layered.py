"""Layouts of graphs: edges go down, nodes and what passes them stand apart."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from workbench.plots.affixes import Affixes
from workbench.plots.layered import layered


def random_graph(seed: int, count: int) -> list[tuple[int, int]]:
    rng = np.random.default_rng(seed)
    return sorted({(int(rng.integers(max(0, node - 6), node)), node) for node in range(1, count) for _ in range(2)})


@pytest.mark.parametrize("seed", range(5))
def test_edges_go_down_and_nodes_of_a_row_stand_apart(seed: int) -> None:
    edges = random_graph(seed, 40)
    found = layered(40, edges)
    assert all(found.nodes[start][1] < found.nodes[end][1] for start, end in edges)
    for row in range(found.rows):
        x = sorted(place[0] for place in found.nodes if place[1] == row)
        assert x
        assert all(right - left >= 1 - 1e-9 for left, right in itertools.pairwise(x))


def test_an_edge_across_rows_passes_between_the_nodes() -> None:
    edges = [(0, 1), (1, 2), (2, 3), (0, 3)]  # a residual block
    found = layered(4, edges)
    route = found.routes[3]
    assert [y for _, y in route] == [0, 1, 2, 3]
    for x, y in route[1:-1]:
        (node,) = (place for place in found.nodes if place[1] == y)
        assert abs(node[0] - x) >= 0.65 - 1e-9  # half of a node and half of an edge
    assert route[0] == found.nodes[0]
    assert route[-1] == found.nodes[3]


def test_inputs_stand_right_above_their_readers() -> None:
    found = layered(4, [(0, 1), (1, 2), (3, 2)])
    assert found.nodes[3][1] == found.nodes[1][1]


def test_circles_single_nodes_and_nothing() -> None:
    assert layered(0, []).rows == 0
    assert layered(1, []).nodes == ((0.0, 0.0),)
    found = layered(3, [(0, 1), (1, 2), (2, 0)])
    assert sorted(y for _, y in found.nodes) == [0, 1, 2]
    assert len(found.routes) == 3


def test_what_most_names_share_is_left_out() -> None:
    names = [f"model/encoder/layer_{index}/dense_product_cast_fp16" for index in range(9)] + ["head"]
    found = Affixes.of(names)
    assert found == Affixes("model/encoder/layer_", "/dense_product_cast_fp16")
    assert found.without("model/encoder/layer_33/attention/scores_cast_fp16") == "…33/attention/scores_cast_fp16"
    assert found.without("head") == "head"
    assert found.without(names[0]) == "…0/dense_product_cast_fp16"  # too little would be left without its end
    assert Affixes.of(names[:3]) == Affixes()
