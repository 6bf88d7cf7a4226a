"""Mistakes on the command line, in a configuration file or a flag: one line, exit code 2, and nothing left behind."""

import os

import pytest
from refusals import ROOT, commands

TINY = "--config=antmaze.py:tiny"
CONFIG_FILES = {
    "syntax": ("def get_config(:", "SyntaxError"),
    "raises": ("raise RuntimeError('first\\nsecond')", "RuntimeError: first second"),
    "leaves": ("import sys; sys.exit(0)", "SystemExit"),
    "imports": ("import nosuchmodule", "nosuchmodule"),
    "lacks": ("x = 1", "get_config"),
    "number": ("get_config = 5", "not callable"),
    "none": ("def get_config(): return None", "must return a ConfigDict, got None"),
    "plain": ("def get_config(): return {'a': 1}", "must return a ConfigDict, got {'a': 1}"),
    "breaks": ("def get_config(): return {}['missing']", "KeyError"),
    "null": ("\0", "null bytes"),
    "other": ("from ml_collections import ConfigDict\ndef get_config(): return ConfigDict({'a': 1})", "no setting 'a'"),
    "empty": ("from ml_collections import ConfigDict\ndef get_config(): return ConfigDict()", "lacks batch_size"),
}
LINES = [
    ([], ["--config is missing"]),
    (["--config=nosuch.py"], ["nosuch.py", "antmaze.py"]),
    ([TINY, "--config.lerning_rate=1"], ["lerning_rate", "did you mean policy.learning_rate"]),
    ([TINY, "--config.policy.lerning_rate=1"], ["did you mean policy.learning_rate"]),
    ([TINY, "--config.sweep.eat=1"], ["sweep.eat", "sweep.eta"]),
    ([TINY, "--config.policy=3"], ["policy is a group of settings", "policy.name"]),
    ([TINY, "--config.num_seeds=true"], ["num_seeds = 'true' must be a whole number at least 1"]),
    ([TINY, "--config.num_seeds=2.5"], ["num_seeds = '2.5' must be a whole number"]),
    ([TINY, "--config.num_seeds=" + "9" * 30], ["num_seeds = 9999", "at most 65536"]),
    ([TINY, "--config.num_seeds=" + "9" * 5000], ["num_seeds = '9999", "at most 65536"]),
    ([TINY, "--config.policy.learning_rate=fast"], ["policy.learning_rate = 'fast' must be a number"]),
    ([TINY, "--config.policy.learning_rate=nan"], ["policy.learning_rate = nan must be"]),
    ([TINY, "--config.guidance.eta=1e400"], ["guidance.eta = inf must be", "at most 1000000"]),
    ([TINY, "--config.guidance.eta=-0.0"], ["guidance.eta = -0.0 must be"]),
    ([TINY, "--config.policy.decay=maybe"], ["policy.decay = 'maybe' must be True or False"]),
    ([TINY, "--config.policy.hidden=(True,)"], ["policy.hidden = (True,) must be the widths"]),
    ([TINY, "--config.policy.name=gpt"], ["policy.name = 'gpt' must be one of", "did you mean 'gtp'"]),
    ([TINY, "--config.critic.name=twinq"], ["did you mean 'twin_q'"]),
    ([TINY, "--config.guidance.name=advantages"], ["did you mean 'advantage'"]),
    ([TINY, "--config.data.reward=minus-1"], ["data.reward = 'minus-1'", "minus-one"]),
    ([TINY, "--config.data.observation=goals"], ["data.observation = 'goals' must be one of maze-scales"]),
    ([TINY, "--config.dataset=gtp/antmaze/umazed-v0"], ["did you mean 'gtp/antmaze/umaze-v0'"]),
    ([TINY, "--config.dataset=../../x-v0"], ["not a dataset id: '../../x-v0'"]),
    ([TINY, "--config.batch_size=5001"], ["batch_size = 5001 must be at most 5000"]),
    ([TINY, "--config.num_seeds=3", "--config.devices=2"], ["devices = 2 must divide the 3 trainings"]),
    ([TINY, "--config.sweep.eta=(1, 'a')"], ["sweep.eta = (1, 'a'): 'a' must be a number"]),
    ([TINY, "--config.sweep.eta={}"], ["sweep.eta = '{}' must be up to"]),  # which would sweep nothing
    ([TINY, "--config.sweep.eta", "{0.1: 1}"], ["sweep.eta = '{0.1: 1}' must be"]),
    ([TINY, "--config.policy.hidden={8}"], ["policy.hidden = '{8}' must be the widths"]),
    (["--config=antmaze.py:umazes"], ["unknown task 'umazes'", "did you mean 'umaze'"]),
    (["--config=antmaze.py:umaze,gtpp"], ["unknown method 'gtpp'", "did you mean 'gtp'"]),
    (["--config=antmaze.py:a/b,diffusion-ql"], ["diffusion-ql has published hyperparameters for antmaze-umaze"]),
    ([TINY, "--wrokdir=x"], ["wrokdir", "Did you mean: workdir"]),
    ([TINY, "more"], ["unexpected argument 'more'"]),
    ([TINY, "--workdir=file"], ["file cannot be made"]),
    ([TINY, "--workdir=locked"], ["Is a directory", "locked/.lock"]),  # as good as no permission to write there
]


@pytest.fixture(scope="module")
def refused(tmp_path_factory):
    """What became of every command line, all of them started in a folder with nothing but the bad configurations."""
    folder = tmp_path_factory.mktemp("lines")
    (folder / "file").write_text("")
    (folder / "locked" / ".lock").mkdir(parents=True)
    for name, (code, _) in CONFIG_FILES.items():
        (folder / f"{name}.py").write_text(code)
    cases = [words for words, _ in LINES] + [[f"--config={name}.py"] for name in CONFIG_FILES]
    before = sorted(folder.rglob("*"))
    env = {**os.environ, "MINARI_DATASETS_PATH": str(folder / "minari")}
    ended = commands(ROOT / "experiments" / "run.py", cases, folder, env)
    left = [path for path in sorted(folder.rglob("*")) if path not in before and "__pycache__" not in path.parts]
    return ended, left


def test_mistakes_on_the_command_line_end_with_one_line(refused):
    says = [says for _, says in LINES] + [[name, says] for name, (_, says) in CONFIG_FILES.items()]
    ended, left = refused
    assert len(ended) == len(says) and left == []  # no run directory, no data
    for end, words in zip(ended, says, strict=True):
        assert end.refused, end
        assert all(word in end.output for word in words), (words, end.output)


def test_flags_of_the_other_scripts(tmp_path):
    (tmp_path / "run").mkdir()
    for script, cases in {
        "evaluate": [
            ([], ["--workdir"]),
            (["--workdir=run", "--num_step=1"], ["--num_step", "did you mean --num_steps"]),
            (["--workdir=run", "--num_steps=1,a"], ["--num_steps", "'a' must be a whole number at least 1"]),
            (["--workdir=run", "--num_steps=0"], ["'0' must be a whole number"]),
            (["--workdir=run", "--num_steps="], ["''"]),
            (["--workdir=run", "--temperature=1,nan"], ["--temperature", "'nan' must be a number at least 0"]),
            (["--workdir=run", "--softmax=-1"], ["--softmax", "'-1'"]),
            (["--workdir=run", "--episodes=1e3"], ["--episodes", "'1e3'"]),
            (["--workdir=run", "--seed=" + "9" * 5000], ["--seed"]),
            (["--workdir=nowhere"], ["nowhere/checkpoints does not exist"]),
            (["--workdir=run"], ["run/checkpoints does not exist"]),
        ],
        "merge": [
            ([], ["RUN", "--out"]),
            (["run"], ["--out"]),
            (["--ot=x", "run", "--out=y"], ["--ot"]),
            (["--out=y", "run"], ["run holds no finished run"]),
            (["--out=run", "run"], ["run exists; choose another --out"]),
        ],
    }.items():
        ended = commands(ROOT / "experiments" / f"{script}.py", [words for words, _ in cases], tmp_path, {**os.environ})
        for end, (words, says) in zip(ended, cases, strict=True):
            assert end.refused and all(word in end.output for word in says), (words, end)
