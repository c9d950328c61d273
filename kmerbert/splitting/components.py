"""Connected components: which nodes of a graph, or rows that share something, are joined directly or through others."""

import numpy as np


def label_components(n_nodes: int, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Numbers the connected components of a graph.

    Args:
        n_nodes: Number of nodes.
        first, second: int arrays (edges,), the nodes at both ends of each edge.

    Returns:
        int32 array (n_nodes,), equal for connected nodes.
    """
    from scipy.sparse import coo_array  # takes half a second to import
    from scipy.sparse.csgraph import connected_components

    graph = coo_array((np.ones(len(first), np.int8), (first, second)), shape=(n_nodes, n_nodes))
    return connected_components(graph, directed=False)[1]


def join_groups(keys: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Numbers the rows that share a key or a group, directly or through other rows.

    Args:
        keys: int array (n,), equal for rows of one kind.
        groups: int array (n,), equal for rows of another kind.

    Returns:
        int array (n,), equal for joined rows, numbered by first appearance in the sorted keys.

    >>> join_groups(np.array([7, 8, 7, 9], np.uint64), np.array([0, 0, 1, 2])).tolist()
    [0, 0, 0, 1]
    """
    _, by_key = np.unique(keys, return_inverse=True)
    _, by_group = np.unique(groups, return_inverse=True)
    n_keys = int(by_key.max(initial=-1)) + 1
    n_nodes = n_keys + int(by_group.max(initial=-1)) + 1
    return label_components(n_nodes, by_key, n_keys + by_group)[by_key]
