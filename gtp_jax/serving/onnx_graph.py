"""From a JAX program to an ONNX model, operation by operation.

What does not depend on the inputs, such as the sampler's times and their embedding, is computed once and becomes a
constant. A value that is the same for all observations of a batch is kept with one row and broadcast.

The package jax2onnx would spare this module: its release 0.13.0 converted seven of the nine policy classes, and those
after it cannot be installed beside the Orbax that this project needs.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.extend.core import Literal
from onnx import ModelProto, NodeProto, TensorProto, checker, helper, numpy_helper

OPSET, IR_VERSION = 17, 8  # those of ONNX 1.12: old enough for every runtime in use
BATCH = "batch"
Equation = Any  # jax.extend.core.JaxprEqn, whose declared types have no shapes

_CALLS = ("jit", "pjit", "closed_call", "custom_jvp_call", "custom_vjp_call")
# Operations with an ONNX operation of the same operands, which broadcasts.
_ALIKE = {
    **dict(abs="Abs", add="Add", cos="Cos", div="Div", erf="Erf", exp="Exp", log="Log", logistic="Sigmoid", max="Max"),
    **dict(min="Min", mul="Mul", neg="Neg", pow="Pow", sign="Sign", sin="Sin", sqrt="Sqrt", sub="Sub", tanh="Tanh"),
    **dict(eq="Equal", ge="GreaterOrEqual", gt="Greater", le="LessOrEqual", lt="Less"),
    **{"and": "And", "or": "Or", "not": "Not", "copy": "Identity"},
}


class Untranslated(ValueError):
    """The function does what this module has no ONNX operation for."""


class _Graph:
    """The nodes so far. A value is an array where it is known, and the name of a node's output otherwise."""

    def __init__(self):
        self.nodes: list[NodeProto] = []
        self.constants: dict[tuple[str, tuple[int, ...], bytes], TensorProto] = {}
        self.drawn = 0  # columns of the noise that are used

    def node(self, operation: str, *operands: str, **attributes: Any) -> str:
        name = f"{operation}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operation, operands, [name], **attributes))
        return name

    def constant(self, value: Any) -> str:
        array = np.asarray(value)
        new = numpy_helper.from_array(array, f"constant_{len(self.constants)}")
        return self.constants.setdefault((array.dtype.str, array.shape, array.tobytes()), new).name

    def integers(self, *values: int) -> str:
        return self.constant(np.array(values, np.int64))

    def rows(self, value: Any, shape: Sequence[Any]) -> str:
        """The name of a value with all its rows."""
        if isinstance(value, str):
            return value
        name = self.constant(value)
        if all(map(_is_fixed, shape)):
            return name
        batch = self.node("Shape", "noise", start=0, end=1)
        sizes = [self.integers(size) if _is_fixed(size) else batch for size in shape]
        return self.node("Expand", name, self.node("Concat", *sizes, axis=0))

    def reshape(self, name: str, shape: Sequence[Any]) -> str:
        return self.node("Reshape", name, self.integers(*(size if _is_fixed(size) else -1 for size in shape)))

    def part(self, name: str, axis: int, start: int, stop: int) -> str:
        return self.node("Slice", name, *map(self.integers, (start, stop, axis)))

    def draw(self, shape: Sequence[Any]) -> str:
        """The next columns of the noise as a draw of this shape."""
        batch, *sizes = shape or (0,)
        if _is_fixed(batch) or not all(map(_is_fixed, sizes)):
            raise Untranslated(f"it draws noise of shape {shape}, not one draw for each observation")
        start, self.drawn = self.drawn, self.drawn + math.prod(sizes)
        return self.reshape(self.part("noise", 1, start, self.drawn), shape)

    def walk(self, program: Any, arguments: Sequence[Any]) -> list[Any]:
        """The values of the program's results."""
        jaxpr = program.jaxpr
        values = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*program.consts, *arguments], strict=True))

        def read(variable: Any) -> Any:
            return variable.val if isinstance(variable, Literal) else values[variable]

        for equation in jaxpr.eqns:
            given = [read(variable) for variable in equation.invars]
            values.update(zip(equation.outvars, self.results(equation, given), strict=True))
        return [read(variable) for variable in jaxpr.outvars]

    def results(self, equation: Equation, given: list[Any]) -> Sequence[Any]:
        name, params = equation.primitive.name, equation.params
        if name in _CALLS:
            if params.get("name") == "_normal":  # jax.random.normal
                return [self.draw(equation.outvars[0].aval.shape)]
            return self.walk(params.get("jaxpr", params.get("call_jaxpr")), given)
        if name == "random_bits":
            raise Untranslated("it draws random numbers other than by jax.random.normal")
        known = not any(isinstance(value, str) for value in given)
        fixed = all([_is_fixed(size) for each in (*equation.invars, *equation.outvars) for size in each.aval.shape])
        if known and (fixed or name in _ALIKE or name in _BROADCASTING or name in _SHAPING):
            bound = {key: _one_row(value) for key, value in params.items()}
            found = equation.primitive.bind(*given, **bound)
            return found if equation.primitive.multiple_results else [found]
        if name in _ALIKE or name in _BROADCASTING:
            names = [value if isinstance(value, str) else self.constant(value) for value in given]
            if name in _ALIKE:
                return [self.node(_ALIKE[name], *names)]
            return [_BROADCASTING[name](self, params, *names)]
        if name not in _OTHERS and name not in _SHAPING:
            raise Untranslated(f"it uses the operation {name!r}")
        pairs = zip(given, equation.invars, strict=True)
        # Known whole numbers are where to slice, and stay as they are.
        operands = [v if each.aval.dtype.kind in "iu" else self.rows(v, each.aval.shape) for v, each in pairs]
        return (_OTHERS | _SHAPING)[name](self, equation, *operands)


def _is_fixed(size: Any) -> bool:
    if isinstance(size, int) or str(size) == BATCH:
        return isinstance(size, int)
    raise Untranslated(f"it has an axis of size {size}")


def _one_row(param: Any) -> Any:
    """An operation's parameter for values of one row: 1 for the size of the batch."""
    if isinstance(param, tuple) and any(jax.export.is_symbolic_dim(size) for size in param):
        return tuple(1 if jax.export.is_symbolic_dim(size) else size for size in param)
    return param


def _reshape(graph: _Graph, equation: Equation, x: str) -> list[str]:
    return [graph.reshape(x, equation.outvars[0].aval.shape)]


def _broadcast(graph: _Graph, equation: Equation, x: str) -> list[str]:
    sizes, shape = [1] * len(equation.params["shape"]), equation.params["shape"]
    for axis, size in zip(equation.params["broadcast_dimensions"], equation.invars[0].aval.shape, strict=True):
        sizes[axis] = size
    x = graph.reshape(x, sizes)
    grown = [size if _is_fixed(size) else 1 for size in shape]  # Expand keeps the size of an axis for 1
    return [x if list(shape) == sizes else graph.node("Expand", x, graph.integers(*grown))]


def _slice(graph: _Graph, equation: Equation, x: str) -> list[str]:
    params, shape = equation.params, equation.invars[0].aval.shape
    if set(params["strides"] or [1]) != {1}:
        raise Untranslated(f"it uses the operation 'slice' with strides {params['strides']}")
    for axis, (start, stop) in enumerate(zip(params["start_indices"], params["limit_indices"], strict=True)):
        if start or stop != shape[axis]:
            x = graph.part(x, axis, start, stop)
    return [x]


def _gather(graph: _Graph, equation: Equation, x: str, starts: Any) -> list[str]:
    """What JAX makes of obs[..., 2:29]: a slice at one known place."""
    numbers, sizes = equation.params["dimension_numbers"], equation.params["slice_sizes"]
    if isinstance(starts, str) or np.ndim(starts) != 1:
        raise Untranslated("it uses the operation 'gather' with other indices than a slice's")
    for axis, start in zip(numbers.start_index_map, np.asarray(starts).tolist(), strict=True):
        x = graph.part(x, axis, start, start + sizes[axis])
    return _reshape(graph, equation, x)


def _split(graph: _Graph, equation: Equation, x: str) -> list[str]:
    ends = np.cumsum(equation.params["sizes"]).tolist()
    return [graph.part(x, equation.params["axis"], *each) for each in zip([0, *ends[:-1]], ends, strict=True)]


def _unstack(graph: _Graph, equation: Equation, x: str) -> list[str]:
    parts = [graph.part(x, equation.params["axis"], i, i + 1) for i in range(len(equation.outvars))]
    return [graph.reshape(part, out.aval.shape) for part, out in zip(parts, equation.outvars, strict=True)]


def _concatenate(graph: _Graph, equation: Equation, *operands: str) -> list[str]:
    return [graph.node("Concat", *operands, axis=equation.params["dimension"])]


def _stack(graph: _Graph, equation: Equation, *operands: str) -> list[str]:
    axis, shape = equation.params["axis"], list(equation.outvars[0].aval.shape)
    shape[axis] = 1
    return [graph.node("Concat", *(graph.reshape(each, shape) for each in operands), axis=axis)]


def _transpose(graph: _Graph, equation: Equation, x: str) -> list[str]:
    return [graph.node("Transpose", x, perm=equation.params["permutation"])]


def _sum(graph: _Graph, equation: Equation, x: str) -> list[str]:
    return [graph.node("ReduceSum", x, graph.integers(*equation.params["axes"]), keepdims=0)]


def _matmul(graph: _Graph, equation: Equation, x: str, y: str) -> list[str]:
    left, right = (each.aval.ndim for each in equation.invars)
    if equation.params["dimension_numbers"] != (((left - 1,), (0,)), ((), ())) or right != 2:
        raise Untranslated(f"it uses the operation 'dot_general' with {equation.params['dimension_numbers']}")
    return [graph.node("MatMul", x, y)]


# Operations whose ONNX operations broadcast: functions of the operation's parameters and the operands.
_BROADCASTING: dict[str, Callable[..., str]] = {
    "clamp": lambda graph, _, low, x, high: graph.node("Min", graph.node("Max", x, low), high),
    "convert_element_type": lambda graph, params, x: graph.node(
        "Cast", x, to=helper.np_dtype_to_tensor_dtype(np.dtype(params["new_dtype"]))
    ),
    "integer_pow": lambda graph, params, x: graph.node("Pow", x, graph.constant(np.float32(params["y"]))),
    "rsqrt": lambda graph, _, x: graph.node("Reciprocal", graph.node("Sqrt", x)),
    "select_n": lambda graph, _, which, no, yes: graph.node("Where", which, yes, no),
    "square": lambda graph, _, x: graph.node("Mul", x, x),
}
# Functions of the whole equation and the operands with all their rows. The first ones treat each row alike.
_SHAPING: dict[str, Callable[..., list[str]]] = {
    "broadcast_in_dim": _broadcast,
    "concatenate": _concatenate,
    "gather": _gather,
    "reshape": _reshape,
    "slice": _slice,
    "split": _split,
    "squeeze": _reshape,
    "stack": _stack,
    "transpose": _transpose,
    "unstack": _unstack,
}
_OTHERS: dict[str, Callable[..., list[str]]] = {"dot_general": _matmul, "reduce_sum": _sum}


def convert(function: Callable[..., Any], sizes: Mapping[str, int], metadata: Mapping[str, str]) -> ModelProto:
    """The ONNX model of `function(key, *inputs)` of inputs [B, size] float32, for any B.

    The model's inputs are named as in `sizes`; a further one, `noise` [B, N], stands for what the function draws by
    `jax.random.normal(key, ...)`, draw after draw. Its one output is `action`.

    Raises Untranslated.
    """
    (batch,) = jax.export.symbolic_shape(BATCH)
    shapes = [jax.ShapeDtypeStruct((batch, size), np.float32) for size in sizes.values()]
    program, out = jax.make_jaxpr(function, return_shape=True)(jax.random.key(0, impl="threefry2x32"), *shapes)
    graph = _Graph()
    (value,) = graph.walk(program, [jax.random.key(0, impl="threefry2x32"), *sizes])
    graph.nodes.append(helper.make_node("Identity", [graph.rows(value, out.shape)], ["action"]))
    inputs = {**sizes, "noise": graph.drawn}
    tensors = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [BATCH, inputs[n]]) for n in inputs]
    outputs = [helper.make_tensor_value_info("action", TensorProto.FLOAT, [BATCH, *out.shape[1:]])]
    body = helper.make_graph(graph.nodes, "policy", tensors, outputs, list(graph.constants.values()))
    opset = [helper.make_opsetid("", OPSET)]
    model = helper.make_model(body, opset_imports=opset, ir_version=IR_VERSION, producer_name="gtp_jax")
    helper.set_model_props(model, dict(metadata))
    checker.check_model(model, full_check=True)
    return model
