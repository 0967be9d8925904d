"""The cheapest assignment of rows to columns, by the Hungarian method (Kuhn 1955), in cubic time."""

from __future__ import annotations

import numpy as np


def cheapest(costs: np.ndarray) -> list[int]:
    """Return the column of each row of a square (n, n) matrix of whole numbers, each column once."""
    size = len(costs)
    u, v = [0] * (size + 1), [0] * (size + 1)
    row_of, way = [0] * (size + 1), [0] * (size + 1)  # by column, from 1; 0 is none
    matrix = costs.tolist()
    for row in range(1, size + 1):
        row_of[0], column = row, 0
        least, used = [None] * (size + 1), [False] * (size + 1)
        while row_of[column]:
            used[column] = True
            here, delta, following = row_of[column], None, 0
            for other in range(1, size + 1):
                if used[other]:
                    continue
                cost = matrix[here - 1][other - 1] - u[here] - v[other]
                if least[other] is None or cost < least[other]:
                    least[other], way[other] = cost, column
                if delta is None or least[other] < delta:
                    delta, following = least[other], other
            for other in range(size + 1):
                if used[other]:
                    u[row_of[other]] += delta
                    v[other] -= delta
                elif least[other] is not None:
                    least[other] -= delta
            column = following
        while column:
            row_of[column] = row_of[way[column]]
            column = way[column]
    found = [0] * size
    for column in range(1, size + 1):
        found[row_of[column] - 1] = column - 1
    return found
