"""`gtp_jax.train` writes nothing without a directory, works anywhere, and returns a policy that acts."""

import asyncio
import contextlib
import json
import os
import re
import signal
import tempfile
from concurrent.futures import ThreadPoolExecutor
from unittest import mock

import numpy as np
import pytest
import toy
from oracles import assert_trees_equal, settings_with
from runs import arrays, times

import gtp_jax
from gtp_jax.config import settings as config
from gtp_jax.policies import gaussian
from gtp_jax.runs.checkpoints import Checkpoints
from gtp_jax.runs.metrics import read_rows
from gtp_jax.training import loop, train

pytestmark = pytest.mark.usefixtures("quick_compilation")
OBS = np.random.default_rng(0).normal(size=(4, 3))


class Trained:
    """A finished training and the calls of its `progress`."""

    def __init__(self, directory=None, **changes):
        self.calls = []
        self.result = toy.train(directory, progress=lambda *call: self.calls.append(call), **changes)
        self.directory, self.policy = directory, self.result.policy
        self.summary = self.result.summary | {"timing": None, "commit": None}

    def is_as(self, other):
        """Checks that every number is that of another training, bit for bit."""
        assert self.summary == other.summary
        assert_trees_equal(self.policy.params, other.policy.params)
        np.testing.assert_array_equal(self.policy(OBS, trial=None), other.policy(OBS, trial=None))
        for (step, one), (other_step, two) in zip(self.calls, other.calls, strict=True):
            assert step == other_step and one.keys() == two.keys()
            assert_trees_equal(one, two)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return Trained(tmp_path_factory.mktemp("written") / "run")


@pytest.fixture(scope="module")
def unwritten():
    return Trained()


def test_without_a_directory_nothing_is_written(unwritten, written, tmp_path, monkeypatch):
    """And every number is that of a run with one; both are of one process."""
    monkeypatch.chdir(tmp_path)
    for name in ("HOME", "TMPDIR"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", None)
    Trained().is_as(unwritten)
    assert list(tmp_path.iterdir()) == []
    written.is_as(unwritten)


def test_the_policy_acts_and_is_the_one_in_the_directory(written):
    policy, loaded = written.policy, gtp_jax.load_policy(written.directory)
    assert policy.step == loaded.step == toy.UPDATES and policy.info == loaded.info
    assert_trees_equal(policy.params, loaded.params)
    np.testing.assert_array_equal(policy(OBS), loaded(OBS))
    assert policy(OBS).shape == (4, 2) and policy(OBS, trial=None).shape == (2, 4, 2)
    batch = toy.dataset().batch
    assert_trees_equal(policy.estimate_values(batch, trial=1), loaded.estimate_values(batch, trial=1))
    assert json.loads((written.directory / "summary.json").read_text()) == written.result.summary


def test_progress_gets_what_is_written(written):
    assert [step for step, _ in written.calls] == [5, 10, 15, 20]
    assert [step for step, metrics in written.calls if "score" in metrics] == [10, 20]
    rows = read_rows(written.directory / "metrics.jsonl")
    for step, metrics in written.calls:
        for seed, row in enumerate(row for row in rows if row["step"] == step):
            assert row == {"step": step, "seed": seed} | {name: each[seed] for name, each in metrics.items()}


def test_the_same_call_again_trains_nothing(written):
    before = times(written.directory)
    again = Trained(written.directory)
    assert again.calls == [] and again.result.summary == written.result.summary
    assert_trees_equal(again.policy.params, written.policy.params)
    assert times(written.directory) == before


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda data: {"fingerprint": "1" * 64}, "fingerprint: '0.*' there, '1.*' now"),
        (lambda data: {"summary": data.summary | {"environment": "Other-v0"}}, "env: 'toy' there, 'Other-v0' now"),
    ],
)
def test_a_finished_run_of_other_data_or_of_another_environment_is_not_read_back(written, change, says):
    data = toy.dataset()
    with pytest.raises(ValueError, match=f"holds another run; .*{says}"):
        toy.train(written.directory, data=data._replace(**change(data)))


async def cell(call):
    """A cell of a notebook, which runs below an event loop."""
    return call()


@pytest.mark.parametrize(
    "within",
    [lambda call: ThreadPoolExecutor(1).submit(call).result(), lambda call: asyncio.run(cell(call))],
    ids=["another thread", "a notebook"],
)
def test_it_works_within(within, unwritten):
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    within(Trained).is_as(unwritten)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers


def test_one_build_of_the_agent_and_no_second_check_of_its_settings():
    """Settings are checked when they are made: here twice, with the changes, and with the dataset's transforms."""
    with (
        mock.patch.object(loop, "build_agent", side_effect=loop.build_agent) as agents,
        mock.patch.object(gaussian, "make", autospec=True, side_effect=gaussian.make) as policies,
        mock.patch.object(config, "_check_together", side_effect=config._check_together) as checks,
    ):
        loop.Training(settings_with(**toy.SETTINGS), None, toy.dataset(), toy.Terminal()).close()
        assert agents.call_count == policies.call_count == checks.call_count == 1
        toy.train(num_updates=5)
    assert agents.call_count == 2 and checks.call_count == 1 + 3
    assert policies.call_count == 1 + 2  # the policy that is returned is built as it acts


def test_actions_that_do_not_fit_the_times_are_warned_of_before_any_update():
    """In units of their bounds: too wide for where sampling starts, or narrow in every column."""
    data, said = toy.dataset(), []

    def within(bound):
        return data._replace(action_low=-bound * np.ones(2, np.float32), action_high=bound * np.ones(2, np.float32))

    def check(dataset, **changes):
        loop.checks.check_data(settings_with(batch_size=8, **changes), dataset, said.append)

    for fitting in (data, within(5.0)):
        check(fitting)
    check(data, policy__name="gaussian")
    check(within(100.0), policy__name="gaussian")
    constant = np.full_like(data.batch.action, 0.1)  # whose mean float32 rounds
    check(data._replace(batch=data.batch._replace(action=constant)))
    assert not said
    check(data, policy__sigma_max=2.0)
    check(within(50.0))
    check(within(50.0), policy__sigma_data=0.035)
    wide, narrow = said
    assert re.search(r"of the actions has a standard deviation of 0\.\d+ where .* = 2 is less than 5 times that", wide)
    assert re.search(r"deviation of 0\.01\d+ .*little of what the bounds allow.*narrower bounds", narrow)
    terminal, settings = toy.Terminal(), settings_with(**toy.SETTINGS | {"policy__name": "gtp"})
    with mock.patch.object(terminal, "say", side_effect=said.append):
        loop.Training(settings, None, within(50.0), terminal).close()
    assert said == [wide, narrow, narrow]


def test_things_of_another_kind_are_refused_by_what_is_wanted(tmp_path):
    with pytest.raises(ValueError, match="settings must be a preset's name or gtp_jax.Settings; data go into dataset="):
        gtp_jax.train(toy.dataset())
    with pytest.raises(ValueError, match=r"policy must be what .*load_policy\(DIRECTORY\) returns; got 'runs/a'"):
        gtp_jax.evaluate("runs/a", "Pendulum-v1")
    with pytest.raises(ValueError, match="the policy is read from the directory of its run"):
        gtp_jax.export(toy.train(num_updates=5, **{"eval.num_episodes": 0}).policy, tmp_path / "a.onnx")


def test_a_run_says_how_good_its_data_are():
    """By the share of episodes that succeed where that is known, and else by their return."""
    data, terminal, settings = toy.dataset(), toy.Terminal(), settings_with(**toy.SETTINGS)
    known = {"episodes": 1200, "mean_return": -158.13}
    for behaviour, says in (
        (0.25, ", 25.0 % of the episodes reach the goal"),
        (None, ", mean return -158.1 of 1,200 ep"),
    ):
        described = data._replace(summary=data.summary | known | {"behaviour_success": behaviour})
        with contextlib.closing(loop.Training(settings, None, described, terminal)) as training:
            assert says in train._facts(training)["data"]


def test_a_directory_goes_on_with_the_same_bounds_of_actions_alone(tmp_path):
    """A data set's fingerprint need not tell of them, and the parameters are those of actions between them."""
    data = toy.dataset()
    toy.train(tmp_path, data=data, **{"eval.num_episodes": 0})
    wider = data._replace(action_high=2 * data.action_high)
    with pytest.raises(ValueError, match=r"action_high: \(1.0, 1.0\) there, \(2.0, 2.0\) now"):
        toy.train(tmp_path, data=wider, num_updates=40, **{"eval.num_episodes": 0})


def test_presets_ids_and_changes_become_settings(monkeypatch):
    """Of the preset, then the changes, then the dataset; a loaded dataset keeps its transforms."""
    data, name, found = toy.dataset(), "mujoco/hopper/medium-v0", []

    def run(settings, dataset, *_):
        found.append((settings, dataset))
        raise toy.Killed

    monkeypatch.setattr(train, "run", run)
    changes = {"policy.num_steps": 3, "data.observation": "identity"}
    for given, dataset in (("gym", None), ("antmaze.py:tiny", name), (gtp_jax.preset("antmaze:tiny"), data)):
        with pytest.raises(toy.Killed):
            gtp_jax.train(given, changes, dataset=dataset)
    (of_preset, of_id, of_data), loaded = zip(*found, strict=True)
    assert loaded == (None, None, data) and of_preset == gtp_jax.preset("gym").replace(changes)
    assert of_id == gtp_jax.preset("antmaze:tiny").replace(changes | {"dataset": name})
    assert of_data == of_id.replace({"data.standardise": False})
    for given, changes, says in (
        ("antmase", {}, "did you mean 'antmaze'"),
        ("antmaze:tiny", {"policy.num_step": 3}, "did you mean policy.num_steps"),
        ("antmaze:tiny", {"policy.num_steps": 0}, "policy.num_steps = 0 must be"),
    ):
        with pytest.raises(ValueError, match=says):
            gtp_jax.train(given, changes)
    assert len(found) == 3


def test_what_ends_the_training_is_raised_and_the_same_call_resumes(written, tmp_path):
    """An exception of `progress`, and a signal, which is a KeyboardInterrupt once all is saved."""
    steps, directory = [], tmp_path / "run"

    def progress(step, metrics):
        steps.append(step)
        if step == 5:
            raise toy.Killed
        if step == 10:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(toy.Killed):
        toy.train(directory, progress=progress)
    with pytest.raises(KeyboardInterrupt, match="the same call resumes"):
        toy.train(directory, progress=progress)
    assert (arrays(directory)["['training']['step']"] == steps[-1]).all() and not (directory / "summary.json").exists()
    resumed = Trained(directory)
    assert resumed.summary == written.summary and steps[:2] == [5, 10]
    assert_trees_equal(resumed.policy.params, written.policy.params)
    with pytest.raises(KeyboardInterrupt, match="^training was stopped$"):
        long = {"num_updates": 2000, "eval.every": 2000, "checkpoint_every": 2000}
        toy.train(progress=lambda step, metrics: step > 5 or os.kill(os.getpid(), signal.SIGINT), **long)


def test_a_state_that_cannot_be_saved_is_an_error(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "save", lambda *_: None)
        with pytest.raises(OSError, match=r"the last state could not be saved in .*train again to resume"):
            toy.train(tmp_path / "run", num_updates=5)
    assert toy.train(tmp_path / "run", num_updates=5).summary["num_updates"] == 5
    monkeypatch.setattr(loop.Evaluator, "prepare", toy.full_disk)
    with pytest.raises(OSError, match="No space left"):  # no state's fault
        toy.train(num_updates=5)
