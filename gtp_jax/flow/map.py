"""The flow map of a generative ODE, in the notation of Generative Trajectory Policies (arXiv 2510.11499).

A model gives the average velocity u(x_t, t, s); everything else follows from it:

    Phi(x_t, t, s) = x_t + (s - t) u        the flow map, eq. 2                   -> `jump`
    phi(x_t, t, s) = x_t - t u              extrapolation to t = 0, eq. 3         -> `extrapolate`
    phi(x_t, t, t) = x_t - t f(x_t, t)      instantaneous flow, eq. 5             -> `extrapolate` at s = t

Shapes: x [*B, *event], times [*B]. Nothing here knows what x means or what it is conditioned on. Results have the
type of x; times that are drawn have the type that is asked for.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from gtp_jax.flow.paths import VARIANCE_EXPLODING, Path, conditional_velocity, expand, interpolate
from gtp_jax.types import Array, Velocity

Step = Callable[[Velocity, Array, Array, Array], Array]


def check_example(x: Array, event_ndim: int, *, z: Array | None = None, **times: Array) -> None:
    """Raises ValueError, naming the argument, for noise not shaped like x [*B, *event] and times not shaped [*B].

    Arrays [B, 1] in the place of [B] would broadcast to [B, B], and only bad samples would tell.
    """
    if z is not None and z.shape != x.shape:
        raise ValueError(f"noise z of shape {z.shape} must be shaped like the data, {x.shape}")
    expected = x.shape[: x.ndim - event_ndim]
    for name, time in times.items():
        if jnp.shape(time) != expected:
            raise ValueError(
                f"{name} of shape {jnp.shape(time)} must be {expected}, one time for each example of data of shape "
                f"{x.shape} with event_ndim = {event_ndim}"
            )


def average(velocity: Velocity, x: Array, t: Array, s: Array) -> Array:
    """u(x, t, s), [*B, *event]. Raises ValueError where a velocity returns another shape than that of x."""
    u = velocity(x, t, s)
    if u.shape != x.shape:
        raise ValueError(f"velocity(x, t, s) returned shape {u.shape} for x of shape {x.shape}; it must return x's")
    return u


def jump(velocity: Velocity, x: Array, t: Array, s: Array) -> Array:
    """Phi(x_t, t, s), the point at time s on the trajectory through x at time t (eq. 2)."""
    return x + expand(s - t, x) * average(velocity, x, t, s)


def extrapolate(velocity: Velocity, x: Array, t: Array, s: Array) -> Array:
    """phi(x_t, t, s), where the average velocity over [s, t] would lead if kept up to time 0 (eq. 3)."""
    return x - expand(t, x) * average(velocity, x, t, s)


def follow(velocity: Velocity, x: Array, times: Array, *, step: Step = jump, event_ndim: int = 1) -> Array:
    """Steps from x [*B, *event] at times[0] through times[1], ... to the point at times[-1], shaped like x (eq. 15).

    The times [K + 1] decrease; the loop over them is unrolled. A `step` is a jump along the map, or one of an ODE
    solver.
    """
    batch_shape, times = x.shape[: x.ndim - event_ndim], jnp.asarray(times, x.dtype)
    for t, s in zip(times[:-1], times[1:], strict=True):
        x = step(velocity, x, jnp.broadcast_to(t, batch_shape), jnp.broadcast_to(s, batch_shape))
    return x


def euler_step(velocity: Velocity, x: Array, t: Array, s: Array) -> Array:
    """One step of Euler's method from t to s along the instantaneous field u(x, t, t); first order."""
    return x + expand(s - t, x) * average(velocity, x, t, t)


def heun_step(velocity: Velocity, x: Array, t: Array, s: Array) -> Array:
    """One step of Heun's method from t to s along the instantaneous field u(x, t, t); second order.

    A step to 0 is Euler's, as in arXiv 2206.00364, algorithm 1: the field is not learnt there.
    """
    here = average(velocity, x, t, t)
    there = average(velocity, x + expand(s - t, x) * here, s, s)
    return x + expand(s - t, x) * jnp.where(expand(s, x) > 0, 0.5 * (here + there), here)


SOLVERS: dict[str, Step] = {"euler": euler_step, "heun": heun_step}


def field_loss(velocity: Velocity, path: Path, x: Array, z: Array, t: Array, *, event_ndim: int = 1) -> Array:
    """|u(x_t, t, t) - dx_t/dt|^2, the loss of flow matching (arXiv 2210.02747, eq. 9), un-reduced.

    Args:
      velocity: the average velocity that is trained; only its instantaneous values are.
      path: where x_t = alpha(t) x + sigma(t) z runs.
      x: [*B, *event] data.
      z: [*B, *event] standard normal noise.
      t: [*B] times.
      event_ndim: number of event axes.

    Returns:
      [*B].

    Raises:
      ValueError: for shapes that do not go together, also the velocity's.
    """
    check_example(x, event_ndim, z=z, t=t)
    x_t = interpolate(path, x, z, t)
    return squared_norm(average(velocity, x_t, t, t) - conditional_velocity(path, x, z, t), event_ndim)


def denoising_loss(velocity: Velocity, x: Array, z: Array, t: Array, *, event_ndim: int = 1) -> Array:
    """|x - phi(x + t z, t, t)|^2, the denoiser's loss (arXiv 2206.00364, eq. 2; 2510.11499, eq. 18), un-reduced.

    It is t^2 times the field's loss on the variance-exploding path. Arguments, result and errors as in `field_loss`.
    """
    return t**2 * field_loss(velocity, VARIANCE_EXPLODING, x, z, t, event_ndim=event_ndim)


def edm_weight(t: Array, sigma_data: float) -> Array:
    """(t^2 + sd^2)/(t sd)^2, EDM's weight of the denoiser's loss at time t (arXiv 2206.00364, table 1)."""
    return (t**2 + sigma_data**2) / (t * sigma_data) ** 2


def squared_norm(x: Array, event_ndim: int) -> Array:
    """|x|^2 over the event axes: [*B, *event] -> [*B]. A chunk [H, A] is summed as the vector [H A] is, to the bit."""
    return jnp.sum(x.reshape(*x.shape[: x.ndim - event_ndim], -1) ** 2, axis=-1)


def edm_velocity(network: Callable[[Array, Array, Array], Array], sigma_data: float) -> Velocity:
    """An average velocity on the variance-exploding path from a network F(c_in x, t, s), preconditioned as in EDM.

    phi = c_skip x + c_out F of arXiv 2206.00364, table 1, solved for u = (x - phi)/t by hand, because the quotient
    loses every digit in float32 as t -> 0:  u = t x / (t^2 + sd^2) - sd F / sqrt(t^2 + sd^2).
    """

    def velocity(x: Array, t: Array, s: Array) -> Array:
        t_x = expand(t, x)
        variance = t_x**2 + sigma_data**2
        c_in = jax.lax.rsqrt(variance)
        return t_x * x / variance - sigma_data * c_in * network(c_in * x, t, s)

    return velocity
