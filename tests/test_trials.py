"""Seeds times swept values, and what a sweep means: the same numbers as the trainings one by one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import assert_trees_equal, random_batch, seed_of, settings_with

from gtp_jax.agent.build import build_agent
from gtp_jax.config import trials
from gtp_jax.config.trials import Trial
from gtp_jax.parallel.seeds import Seeds

DATA = random_batch(32)
BOUND = np.ones(DATA.action.shape[1], np.float32)


def test_every_seed_with_every_combination_seeds_side_by_side():
    settings = settings_with(sweep__eta=(0.1, 1.0), sweep__discount=(0.9, 0.99), seed_offset=3, num_seeds=2)
    found = trials.trials(settings)
    assert [trial.label() for trial in found[:3]] == [
        {"seed": 3, "discount": 0.9, "eta": 0.1},
        {"seed": 4, "discount": 0.9, "eta": 0.1},
        {"seed": 3, "discount": 0.9, "eta": 1.0},
    ]
    assert len(found) == 8 and trials.from_labels([trial.label() for trial in found]) == found
    assert trials.combinations(found)[3] == ({"discount": 0.99, "eta": 1.0}, [6, 7])
    assert trials.name_values(found[0].label()) == "seed = 3, discount = 0.9, eta = 0.1"
    each = trials.hyperparameters(settings, found)
    assert each["discount"] == [0.9] * 4 + [0.99] * 4 and each["eta"] == [0.1, 0.1, 1.0, 1.0] * 2
    assert each["policy_lr"] == [settings.policy.learning_rate] * 8
    assert trials.combinations(trials.trials(settings_with(num_seeds=3))) == [({}, [0, 1, 2])]


@pytest.mark.parametrize("labels", ["all", 3, [3], [{}], [{"seed": "0"}], [{"seed": 0, "eta": True}], {"seed": 0}])
def test_what_is_no_list_of_labels_is_refused(labels):
    with pytest.raises(ValueError, match="must name a seed and swept values by numbers"):
        trials.from_labels(labels)


def states(settings, found):
    """The states of trials after three updates."""
    agent, _ = build_agent(settings, -BOUND, BOUND, None)
    example = jax.tree.map(lambda column: column[:1], DATA)
    own = {name: jnp.float32(each) for name, each in trials.hyperparameters(settings, found).items()}
    engine = Seeds(
        lambda key, hparams: agent.init(key, example, hparams),
        agent.update,
        DATA,
        seeds=[trial.seed for trial in found],
        batch_size=8,
        own=[own],
    )
    state, _ = engine.advance(engine.init(), 3)
    return engine.gather(state)


def test_a_sweep_equals_its_trainings_one_by_one():
    """Bit for bit at the same width: a trial is what it is where each trains with the value as a plain setting."""
    small = {"policy__name": "gaussian", "policy__num_steps": 1, "guidance__name": "none"}
    settings = settings_with(**small, sweep__policy_lr=(0.1, 0.2), num_seeds=2)
    together = states(settings, trials.trials(settings))
    for i, rate in enumerate((0.1, 0.2)):
        alone = states(settings_with(**small, policy__learning_rate=rate), [Trial(seed, {}) for seed in (0, 1, 0, 1)])
        assert_trees_equal(*(seed_of(tree, slice(2 * i, 2 * i + 2)) for tree in (together, alone)))
    first = jax.tree.leaves(together.policy)[0]
    assert (first[0] != first[2]).any() and (first[0] != first[1]).any()
