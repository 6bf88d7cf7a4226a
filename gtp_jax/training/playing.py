"""Playing episodes in anybody's environment, which may raise whatever it likes."""

import traceback
from collections.abc import Callable
from typing import Any

import numpy as np

from gtp_jax.envs.evaluation import Episodes, Evaluator
from gtp_jax.parallel import hosts
from gtp_jax.serving.policy import LoadedPolicy

FAILED = 70  # the exit code of a run whose evaluation failed: "internal software error" of sysexits.h


class EvaluationFailed(RuntimeError):
    """Environment or policy raised while episodes were played: the message says what and where."""

    policy: LoadedPolicy | None = None  # as trained so far


def prepare(evaluator: Evaluator, num_episodes: int, env_id: str) -> None:
    """Makes the environments, before any training. Raises ValueError for what they raise, but for OSErrors."""
    try:
        evaluator.prepare(num_episodes)
    except (OSError, ValueError):
        raise
    except Exception as error:
        cure = "mend it, or train without evaluating: --config.eval.num_episodes=0"
        raise ValueError(f"{env_id} cannot be made ({type(error).__name__}: {error}); {cure}") from error


def play(evaluator: Evaluator, act: Callable[[int, np.ndarray], Any], num_episodes: int) -> Episodes:
    """Calls an evaluator. Raises EvaluationFailed for whatever it raises."""
    try:
        return evaluator(act, num_episodes)
    except (Exception, SystemExit) as error:
        file, line, *_ = traceback.extract_tb(error.__traceback__)[-1]
        what = f"the evaluation failed with {type(error).__name__}: {error} ({file}, line {line})"
        raise EvaluationFailed(" ".join(what.split())) from error


def gather(episodes: Episodes) -> Episodes:
    """The episodes of all processes; positions, which are drawn but not counted, of this process alone."""
    return hosts.gather(episodes._replace(positions=None))._replace(positions=episodes.positions)
