"""The shape of the source that the import contracts do not say."""

from graphlib import TopologicalSorter

import grimp


def test_no_module_needs_one_that_needs_it():
    """Imports inside functions and those for type checkers count too; a circle is named by the error."""
    graph = grimp.build_graph("volovan", cache_dir=None)
    order = TopologicalSorter({name: graph.find_modules_directly_imported_by(name) for name in graph.modules})
    assert len(list(order.static_order())) == len(graph.modules) > 200
