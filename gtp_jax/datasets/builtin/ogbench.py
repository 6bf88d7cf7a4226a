"""The datasets of OGBench that are made again here, in its own environments: one table."""

from dataclasses import dataclass
from typing import Any

from gtp_jax.envs.making import EvalEnv


@dataclass(frozen=True)
class OGBenchCollection:
    """How one dataset is made again. The settings are published (github.com/seohongpark/ogbench, data_gen_scripts).

    All its tasks share the data, which aim at none of them: the rewards are those of the task that is trained on.
    """

    family = "ogbench"
    maze = None
    has_goal, observes_goal = True, False

    name: str  # ENVIRONMENT-TYPE, as OGBench names the file
    noise: float  # deviation of the noise on actions; of "noisy" data the largest, each episode drawing its own
    random: float = 0.0  # the share of actions that are drawn uniformly instead
    steps: int = 1000  # transitions of an episode
    controllers: tuple[str, ...] = ()  # the file in controllers/ that walks; points and arms have the package's oracles
    transitions: int = 1_000_000

    @property
    def env_id(self) -> str:
        """The environment that the data are collected in."""
        return f"{self.name.rpartition('-')[0]}-v0"

    @property
    def kind(self) -> str:
        """How the environment is acted in: navigate or stitch, play or noisy."""
        return self.name.rpartition("-")[2]

    @property
    def is_maze(self) -> bool:
        """Whether it is walked in, and not moved by an arm."""
        return self.kind in ("navigate", "stitch")

    @property
    def mode(self) -> dict[str, Any]:
        """The arguments with which the environment is made."""
        return {"terminate_at_goal": False} | ({} if self.is_maze else {"mode": "data_collection"})

    def eval_env(self, task: str = "singletask") -> EvalEnv:
        """The environment that policies for a task are evaluated in: "singletask-task2", or OGBench's default one."""
        return single_task(self.name, task)


def single_task(name: str, task: str) -> EvalEnv:
    """The environment of one task, "singletask" or "singletask-taskN", of the dataset ENVIRONMENT-TYPE."""
    from gtp_jax.envs.ogbench import eval_env

    return eval_env(f"{name.rpartition('-')[0]}-{task}-v0")


def columns_of(name: str) -> tuple[str, ...]:
    """The arrays of the file ENVIRONMENT-TYPE-v0.npz that training needs."""
    buttons = ("button_states",) * name.startswith(("scene", "puzzle"))
    return ("observations", "actions", "terminals", "qpos", *buttons)


_ANT = ("ogbench_ant.npz",)
_ARMS = ("cube-single", "cube-double", "scene", "puzzle-3x3")
OGBENCH = {
    each.name: each
    for each in (
        *(OGBenchCollection(f"pointmaze-{maze}-navigate", 0.5) for maze in ("medium", "large")),
        *(OGBenchCollection(f"pointmaze-{maze}-stitch", 0.5, steps=200) for maze in ("medium", "large")),
        *(OGBenchCollection(f"antmaze-{maze}-navigate", 0.2, controllers=_ANT) for maze in ("medium", "large")),
        *(
            OGBenchCollection(f"antmaze-{maze}-stitch", 0.2, steps=200, controllers=_ANT)
            for maze in ("medium", "large")
        ),
        *(OGBenchCollection(f"{arm}-play", 0.1) for arm in _ARMS),
        *(OGBenchCollection(f"{arm}-noisy", 0.1, 0.2 if arm == "puzzle-3x3" else 0.1) for arm in _ARMS),
    )
}
