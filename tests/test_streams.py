"""What a seed draws, pinned: a change here changes every result. Threefry's numbers are those of every JAX version."""

import jax
import jax.numpy as jnp
import numpy as np
from agents import hparams
from oracles import random_batch

from gtp_jax.agent.acting import acting
from gtp_jax.agent.guidance import GUIDANCE
from gtp_jax.agent.update import make_agent
from gtp_jax.envs.evaluation import Evaluator
from gtp_jax.parallel.seeds import seed_keys
from gtp_jax.types import Critic, Policy, ValueEstimate


def words(key):
    return np.asarray(jax.random.key_data(key)).tolist()


def test_keys_of_learners_and_minibatches():
    learner, data = seed_keys([0, 7])
    assert words(learner) == [[1797259609, 2579123966], [3625411723, 1954958720]]
    assert words(data) == [[928981903, 3453687069], [195045567, 4062205631]]


def test_keys_of_an_agent():
    """Those that initialise, and those of the fourth update: of the policy's loss and of its samples for the critic."""
    seen = {}

    def remember(name, key, result):
        seen[name] = words(key)
        return result

    policy = Policy(
        init=lambda key, batch: remember("policy", key, jnp.zeros(())),
        loss=lambda params, target, key, batch, hparams, step: remember("loss", key, (params * batch.reward, {})),
        sample=lambda params, key, obs, *_: remember("sample", key, jnp.zeros((*obs.shape[:-1], 2))),
    )
    critic = Critic(
        init=lambda key, batch: remember("critic", key, jnp.zeros(())),
        evaluate=lambda params, target, batch, *_: ValueEstimate(batch.reward, batch.reward),
        loss=lambda params, target, batch, next_value, hparams: (params * batch.reward, {}),
        q=None,
        next_samples=1,
        baseline_samples=1,
    )
    batch = random_batch(4)
    agent = make_agent(policy, critic, GUIDANCE["advantage"](), num_steps=2)
    state = agent.init(seed_keys([0])[0][0], batch, hparams())
    agent.update(state._replace(step=jnp.int32(3)), batch)
    assert seen == {
        "policy": [4165894930, 804218099],
        "critic": [1353695780, 2116000888],
        "sample": [2287937466, 3001167298],
        "loss": [2426208854, 270913288],
    }
    assert words(state.key) == [2839387376, 2467677468]


def test_noise_of_evaluations():
    """Seeds 0 and 7 at the fourth step of an episode."""
    sample = lambda params, key, obs, num_steps, temperature: jax.random.bits(key, (1, 2))
    act = acting(sample, jnp.zeros(2), (0, 7), num_steps=1, temperature=1.0, noise_seed=5)
    assert np.asarray(act(3, np.zeros((2, 1, 1)))).tolist() == [[[1618555164, 1313642498]], [[3220930841, 2748568274]]]


def test_starts_of_episodes():
    """What resets the environments of seeds 0 and 7, two episodes each."""
    seeds = []

    class Env:
        def reset(self, *, seed):
            seeds.append(seed)
            return np.zeros(1), {}

        def step(self, action):
            return np.zeros(1), 0.0, True, False, {}

        def close(self):
            pass

    evaluator = Evaluator(Env, lambda obs: obs, (0, 7), num_envs=2)
    evaluator(lambda step, obs: np.zeros((2, 2, 1)), 2)
    evaluator.close()
    assert seeds == [2508929068, 4268464798, 3982482525, 4165616183]
