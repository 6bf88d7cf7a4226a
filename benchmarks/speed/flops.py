"""Floating-point operations of the matrix products in a JAX program, counted as often as they run."""

import math
from collections.abc import Callable

import jax
from jax.interpreters.partial_eval import dce_jaxpr


def matmul_mflop(function: Callable, *arguments) -> float:
    """Millions, in one call of a function that JAX can trace; what no output depends on is left out."""
    jaxpr = jax.make_jaxpr(function)(*arguments).jaxpr
    return _of_jaxpr(dce_jaxpr(jaxpr, [True] * len(jaxpr.outvars))[0]) / 1e6


def _of_jaxpr(jaxpr) -> float:
    """Floating-point operations of a jaxpr's matmuls; of branches, one of which is taken at random, their mean."""
    total = 0.0
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            contracted = equation.params["dimension_numbers"][0][0]
            shape = equation.invars[0].aval.shape
            total += 2 * math.prod(equation.outvars[0].aval.shape) * math.prod(shape[axis] for axis in contracted)
        elif equation.primitive.name == "cond":
            branches = equation.params["branches"]
            total += sum(_of_jaxpr(branch.jaxpr) for branch in branches) / len(branches)
        else:
            parts = [getattr(value, "jaxpr", value) for value in equation.params.values()]
            inner = sum(_of_jaxpr(part) for part in parts if hasattr(part, "eqns"))
            total += inner * (equation.params["length"] if equation.primitive.name == "scan" else 1)
    return total
