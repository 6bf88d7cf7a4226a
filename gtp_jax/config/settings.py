"""The settings of a run: checked values, each declared once in `config.groups` or in its policy's or critic's file.

A dotted name names a setting: "num_updates", "policy.rho".
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Self

from gtp_jax import critics, policies
from gtp_jax.config.groups import GUIDANCE_FACTS, MAX_TRIALS, WITH_POSITIONS, RunSettings
from gtp_jax.config.table import (
    MEMBERS,
    PARTS,
    check_swept,
    declarations,
    flatten,
    nested,
    own_values,
    unknown,
)
from gtp_jax.declare import MAX_INT, declared, shown


@dataclasses.dataclass(frozen=True)
class Settings(RunSettings):
    """The settings of a run. Every value is checked, however they are made; `of`, `replace` and `from_json` make them.

    Raises:
      ValueError: naming setting, value and what is allowed, for one that is out of range, without meaning to the policy
        or critic chosen, or contradicts another.
    """

    def __post_init__(self):
        for part, family in MEMBERS.items():
            group = getattr(self, part)
            kind = family[group.name].Settings
            if group.own is None:
                object.__setattr__(self, part, dataclasses.replace(group, own=kind()))
            elif not isinstance(group.own, kind):
                raise ValueError(f"{part}.own = {shown(group.own)} must be the settings of {group.name}")
        known = declarations()
        for name, value in self.flat().items():
            if name not in known:
                raise ValueError(unknown(name))
            if name.startswith("sweep."):
                check_swept(name, value, known[name].setting)
            elif not known[name].setting.allows(value):
                raise ValueError(known[name].setting.refusal(name, value))
        _check_together(self)

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """The settings of values by dotted name, `{"policy.rho": 5.0}`; the others have their defaults.

        Raises:
          ValueError: for an unknown name, and what `Settings` raises.
        """
        known, given, sweep = declarations(), {}, {}
        for name in (f"{part}.name" for part in MEMBERS):  # an unknown member's own settings are unknown, too
            if name in values and not known[name].setting.allows(values[name]):
                raise ValueError(known[name].setting.refusal(name, values[name]))
        for name, value in values.items():
            if name not in known:
                raise ValueError(unknown(name))
            value = tuple(value) if isinstance(value, list) else value
            declaration = known[name].setting
            if isinstance(declaration.default, float) and type(value) is int and declaration.allows(value):
                value = float(value)
            if not name.startswith("sweep."):
                given[name] = value
            elif value != ():
                sweep[declaration.hparam] = value
        parts = {}
        for part, kind in PARTS.items():
            own = {}
            if part in MEMBERS:
                member = given.get(f"{part}.name", declared(kind)["name"].default)
                own["own"] = MEMBERS[part][member].Settings(**own_values(part, member, given))
            parts[part] = kind(
                **{name: given[f"{part}.{name}"] for name in declared(kind) if f"{part}.{name}" in given}, **own
            )
        own_fields = {name: given[name] for name in declared(cls) if name in given}
        return cls(**own_fields, **parts, sweep={name: sweep[name] for name in sorted(sweep)})

    def replace(self, changes: Mapping[str, Any]) -> Self:
        """These settings with other values, by dotted name; raises what `of` raises."""
        return type(self).of({**self.flat(), **changes})

    def flat(self) -> dict[str, Any]:
        """The settings by dotted name, those of other policies and critics left out; sweeps where there are any."""
        found = {name: getattr(self, name) for name in declared(self)}
        for part in PARTS:
            group = getattr(self, part)
            for each in (group, getattr(group, "own", None)):
                found |= {f"{part}.{name}": getattr(each, name) for name in (declared(each) if each else ())}
        return found | {f"sweep.{name}": values for name, values in self.sweep.items()}

    def to_json(self) -> dict[str, Any]:
        """The settings as nested dicts of what JSON holds; `from_json` is the inverse."""
        return nested({k: list(v) if isinstance(v, tuple) else v for k, v in self.flat().items()})

    @classmethod
    def from_json(cls, values: Any) -> Self:
        """The settings of nested dicts; settings that are not there have their defaults. Raises what `of` raises."""
        if not isinstance(values, Mapping):
            raise ValueError(f"the configuration = {shown(values)} must be groups of settings")
        return cls.of(dict(flatten(values)))


def hparam_names(settings: Settings) -> dict[str, str]:
    """The hyperparameters of these settings, by their names in State.hparams, as dotted names."""
    known = declarations()
    return {
        known[name].setting.hparam: name
        for name in settings.flat()
        if known[name].setting.hparam and not name.startswith("sweep.")
    }


def structural(settings: Settings) -> dict[str, Any]:
    """The settings without which equal parameters mean something else; those of a critic only where one is trained."""
    cloning = is_cloning(settings)
    return {
        name: value
        for name, value in settings.flat().items()
        if declarations()[name].setting.structural and not (cloning and name.startswith("critic."))
    }


def is_cloning(settings: Settings) -> bool:
    """Whether value shapes nothing, so that no critic is trained: guidance "none", or eta = 0 wherever it is swept."""
    guidance = settings.guidance
    if not GUIDANCE_FACTS[guidance.name].eta:
        return guidance.name == "none"
    return not any(settings.sweep.get("eta", (guidance.eta,)))


def uses_labels(settings: Settings) -> bool:
    """Whether the policy is advantage-conditioned: it observes the optimality label as one number more."""
    return not is_cloning(settings) and GUIDANCE_FACTS[settings.guidance.name].label


def describe(settings: Settings) -> str:
    """The method in one line, with what a reader of its score must know: `gtp, eta = 1, K = 2, temperature 0.5`."""
    policy, guidance = settings.policy, settings.guidance
    hierarchy = (
        [f"{policy.subgoal_encoding} subgoals {policy.subgoal_steps} steps ahead"] if policy.subgoal_steps else []
    )
    if is_cloning(settings):
        parts = [f"{policy.name}-bc", *hierarchy]
    else:
        strength = (
            f" eta = {guidance.eta:g}" if GUIDANCE_FACTS[guidance.name].eta and "eta" not in settings.sweep else ""
        )
        strength += " relative" if guidance.relative else ""
        strength += f" anchor = {guidance.anchor:g}" if guidance.anchor else ""
        strength += f" filter = {guidance.filter_temperature:g}" if guidance.filter_temperature else ""
        parts = [policy.name, *hierarchy, f"{settings.critic.name} critic", guidance.name + strength]
    parts.append(f"K = {policy.num_steps}")
    if policy.temperature != 1:
        parts.append(f"temperature {policy.temperature:g}")
    return ", ".join(parts)


def _check_together(settings: Settings) -> None:
    """Raises ValueError for values that contradict one another."""
    flat, guidance, policy = settings.flat(), settings.guidance, settings.policy
    cloning, facts = is_cloning(settings), GUIDANCE_FACTS[guidance.name]
    critic = critics.FAMILY[settings.critic.name]

    def refuse(name: str, why: str) -> None:
        raise ValueError(f"{name} = {shown(flat[name])} {why}")

    if settings.critic.n_step != 1 and "discount" in settings.sweep:
        refuse(
            "sweep.discount",
            f"cannot go with critic.n_step = {settings.critic.n_step!r}, whose returns are summed once with "
            "critic.discount; set that, in a run for each value",
        )
    for name, without in (("critic.observation", "all"), ("policy.subgoal_steps", 0)):
        if flat.get(name, without) != without and settings.data.observation not in WITH_POSITIONS:
            needed = " or ".join(map(repr, WITH_POSITIONS))
            refuse(
                name,
                f"needs data.observation = {needed}, and it is {settings.data.observation!r}; else set {name} = "
                f"{without!r}",
            )
    for name in ("policy.high_level_hidden", "policy.subgoal_encoding"):
        default = declarations()[name].setting.default
        if not policy.subgoal_steps and flat[name] != default:
            refuse(name, f"means nothing to policy.subgoal_steps = 0; set {name} = {default!r}")
    egocentric = policy.subgoal_encoding == "egocentric"
    if policy.subgoal_steps and egocentric != (settings.data.observation == "maze-egocentric"):
        refuse(
            "policy.subgoal_encoding",
            f"cannot go with data.observation = {settings.data.observation!r}; set policy.subgoal_encoding = "
            "'egocentric' with data.observation = 'maze-egocentric', or 'displacement' with another observation",
        )
    if guidance.name != "none" and not facts.eta and guidance.eta == 0:
        refuse("guidance.eta", f"means nothing to guidance.name = {guidance.name!r}; to clone, set it to 'none'")
    if not cloning and facts.q_values and not getattr(critic, "VALUES_ACTIONS", True):
        refuse(
            "guidance.name",
            f"asks for the values of sampled actions, and critic.name = {settings.critic.name!r} values states alone; "
            "choose another critic or guidance",
        )
    for name in ("guidance.relative", "guidance.anchor", "guidance.anchor_steps", "guidance.filter_temperature"):
        default = declarations()[name].setting.default
        if flat[name] != default and not facts.q_values:
            refuse(name, f"means nothing to guidance.name = {guidance.name!r}; set it to {default!r}")
    fixed = getattr(policies.FAMILY[policy.name], "FIXED_STEPS", False)
    if fixed and guidance.anchor and guidance.anchor_steps != policy.num_steps:
        refuse("guidance.anchor_steps", f"must be policy.num_steps = {policy.num_steps} for {policy.name}")
    sampled = facts.q_values or getattr(critic, "SAMPLES_ACTIONS", True)
    if not cloning and fixed and sampled and policy.num_steps != settings.critic.num_steps:
        refuse(
            "critic.num_steps",
            f"must be policy.num_steps = {policy.num_steps}: {policy.name} samples in the steps it was trained for",
        )
    used = hparam_names(settings)
    for name, values in settings.sweep.items():
        of_value = used.get(name, "").startswith(("critic.", "guidance."))
        if name not in used or (of_value and cloning) or (name == "eta" and not facts.eta):
            raise ValueError(f"sweep.{name} = {values!r} means nothing to {describe(settings)}; leave it out")
    for name in ("checkpoint_every", "eval.every"):
        if flat[name] % settings.log_every:
            refuse(name, f"must be a multiple of log_every = {settings.log_every!r}")
    if settings.seed_offset + settings.num_seeds - 1 > MAX_INT:
        limit = MAX_INT + 1 - settings.num_seeds
        refuse("seed_offset", f"must be at most {limit} with num_seeds = {settings.num_seeds}")
    trials = settings.num_seeds * math.prod(len(values) for values in settings.sweep.values())
    if trials not in MAX_TRIALS:
        refuse("num_seeds", f"times what is swept are {trials} trials; must be {MAX_TRIALS}")
    if settings.devices > trials:
        refuse("devices", f"exceeds the {trials} trials (num_seeds = {settings.num_seeds}, times what is swept)")
