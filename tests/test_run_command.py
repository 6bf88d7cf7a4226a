"""`gtp-jax run`: flags, presets and configuration files become settings; every mistake is one line and leaves nothing.

The long tests run whole commands: files, resuming bit for bit, signals, two devices.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from logs import read_events
from runs import UPDATES, differences, summary_of, times, wait_until_step

from gtp_jax import commands
from gtp_jax.commands import run
from gtp_jax.config.presets import preset
from gtp_jax.config.settings import Settings
from gtp_jax.runs.terminal import Terminal
from gtp_jax.training import playing, train

TINY = "--config=antmaze.py:tiny"


@pytest.mark.parametrize(
    ("words", "changes"),
    [
        (["--config.num_seeds=3"], {"num_seeds": 3}),
        (["--config.num_seeds=1", "--config.num_seeds=3"], {"num_seeds": 3}),
        (["--config.num_seeds", "1", "-config.num_seeds", "3"], {"num_seeds": 3}),
        (["--config.policy.rho=5", "--config.policy.rho=3.5"], {"policy.rho": 3.5}),
        (["--config.policy.target=ema", "--config.policy.target=online"], {"policy.target": "online"}),
        (["--config.policy.hidden=(8,)", "--config.policy.hidden=(9, 9)"], {"policy.hidden": (9, 9)}),
        (["--config.sweep.eta=(0.1,)", "--config.sweep.eta=(0.2, 3)"], {"sweep.eta": (0.2, 3)}),
        (["--config.policy.decay=False", "--config.policy.decay"], {"policy.decay": True}),
        (["--config.policy.decay", "--noconfig.policy.decay"], {"policy.decay": False}),
        (["--config.log.wandb=", "--config.log.wandb=a b"], {"log.wandb": "a b"}),
        (["--config.policy.name=ctm", "--config.policy.name=gaussian"], {"policy.name": "gaussian"}),
        (["--config.guidance.eta=2"], {"guidance.eta": 2.0}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_flags_change_settings_and_the_last_of_equals_wins(words, changes):
    settings, *_ = run.parse([TINY, *words])
    assert settings == preset("antmaze:tiny").replace(changes)
    assert all(type(settings.flat()[name]) is type(value) for name, value in changes.items())


def test_names_of_presets_and_directories(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for words in (["--config=antmaze.py"], ["--config=antmaze"], ["--config", "antmaze.py"], ["-config=antmaze"]):
        settings, workdir, distributed = run.parse([*words, "--config.seed_offset=3"])
        assert settings == preset("antmaze").replace({"seed_offset": 3})
        assert workdir == Path("runs/antmaze") and distributed is None
    for name, folder in (("antmaze.py:umaze,gtp-bc", "antmaze-umaze-gtp-bc"), ("gym:mujoco/hopper/medium-v0", None)):
        settings, workdir, _ = run.parse([f"--config={name}"])
        assert settings == preset(name) and workdir == Path("runs") / (folder or "gym-mujoco-hopper-medium-v0")
    _, workdir, distributed = run.parse([TINY, "--workdir=x", "--workdir", "~/y", "--distributed=auto"])
    assert workdir == Path.home() / "y" and distributed == "auto"


def test_a_file_in_the_working_directory_comes_before_a_preset(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    own = {
        "antmaze": "def get_config(name='none'): return gtp_jax.Settings.of({'num_seeds': 9, 'guidance.name': name})",
        "nested": "def get_config(): return {'num_seeds': 9, 'policy': {'hidden': [8], 'rho': 5}}",
        "classic": "def get_config(): return ml_collections.ConfigDict({'num_seeds': 9, 'sweep': {'eta': (1.0,)}})",
    }
    for name, code in own.items():
        (tmp_path / f"{name}.py").write_text(f"import gtp_jax, ml_collections\n{code}")
    assert run.parse(["--config=antmaze:q"])[0] == Settings.of({"num_seeds": 9, "guidance.name": "q"})
    assert run.parse(["--config=antmaze.py"])[0].guidance.name == "none"
    settings, *_ = run.parse(["--config=nested", "--config.policy.rho=5.5"])
    assert settings == Settings.of({"num_seeds": 9, "policy.hidden": (8,), "policy.rho": 5.5})
    assert run.parse(["--config=classic"])[0].sweep == {"eta": (1.0,)}
    (tmp_path / "a:b").mkdir()
    (tmp_path / "a:b" / "c.py").write_text("def get_config(n=1): return {'num_seeds': int(n)}")
    for name, seeds, folder in (("a:b/c.py", 1, "c"), ("a:b/c:7", 7, "c-7"), (f"{tmp_path}/a:b/c.py:8", 8, "c-8")):
        settings, workdir, _ = run.parse([f"--config={name}"])
        assert settings.num_seeds == seeds and workdir == Path("runs") / folder


CONFIG_FILES = {
    "syntax": ("def get_config(:", "SyntaxError"),
    "raises": ("raise RuntimeError('first\\nsecond')", "RuntimeError: first second"),
    "leaves": ("import sys; sys.exit(0)", "SystemExit"),
    "imports": ("import nosuchmodule", "nosuchmodule"),
    "lacks": ("x = 1", "lacks.py defines no get_config([variant])"),
    "number": ("get_config = 5", "not callable"),
    "none": ("def get_config(): return None", "must return Settings, a ConfigDict or a dict, got None"),
    "plain": ("def get_config(): return {'a': 1}", "there is no setting 'a'"),
    "wrong": ("def get_config(): return {'policy': {'rho': 'x'}}", "policy.rho = 'x' must be a number"),
    "breaks": ("def get_config():\n  return {}['missing']", "breaks.py, line 2: KeyError"),
    "null": ("\0", "null bytes"),
    "a:b": ("x = 1", "a:b.py defines no get_config([variant])"),
}
MISTAKES = [
    ([], ["--config is missing"]),
    (["--config"], ["there is no file ''"]),
    (
        ["--config=antmaz.py:tiny"],
        ["there is no file 'antmaz.py:tiny'; of presets there are", "did you mean 'antmaze.py'?"],
    ),
    (["--config=nosuch.py"], ["nosuch.py", "antmaze.py"]),
    (["--config=antmaze.py:umazes"], ["unknown task 'umazes'", "did you mean 'umaze'"]),
    ([TINY, "--config.lerning_rate=1"], ["lerning_rate", "did you mean policy.learning_rate"]),
    ([TINY, "--config.policy.lerning_rate=1"], ["did you mean policy.learning_rate"]),
    ([TINY, "--noconfig.policy.dekay"], ["did you mean policy.decay"]),
    ([TINY, "--config.sweep.eat=1"], ["sweep.eat", "sweep.eta"]),
    ([TINY, "--config.policy=3"], ["policy is a group of settings", "policy.name"]),
    ([TINY, "--config.num_seeds=true"], ["num_seeds = 'true' must be a whole number at least 1"]),
    ([TINY, "--config.num_seeds=2.5"], ["num_seeds = '2.5' must be a whole number"]),
    ([TINY, "--config.num_seeds"], ["num_seeds = '' must be a whole number"]),
    ([TINY, "--config.num_seeds=" + "9" * 30], ["num_seeds = 9999", "at most 65,536"]),
    ([TINY, "--config.num_seeds=" + "9" * 5000], ["num_seeds = '9999", "at most 65,536"]),
    ([TINY, "--config.policy.learning_rate=fast"], ["policy.learning_rate = 'fast' must be a number"]),
    ([TINY, "--config.policy.learning_rate=nan"], ["policy.learning_rate = nan must be"]),
    ([TINY, "--config.guidance.eta=1e400"], ["guidance.eta = inf must be", "at most 1,000,000"]),
    ([TINY, "--config.guidance.eta=-0.0"], ["guidance.eta = -0.0 must be"]),
    ([TINY, "--config.policy.decay=maybe"], ["policy.decay = 'maybe' must be True or False"]),
    ([TINY, "--config.policy.hidden=(True,)"], ["policy.hidden = (True,) must be the widths"]),
    ([TINY, "--config.policy.hidden={8}"], ["policy.hidden = '{8}' must be the widths"]),
    ([TINY, "--config.policy.name=gpt"], ["policy.name = 'gpt' must be one of", "did you mean 'gtp'"]),
    ([TINY, "--config.policy.solver=heun"], ["policy.solver = 'heun' means nothing to policy.name = 'gtp'", "ctm"]),
    ([TINY, "--config.num_seeds=3", "--config.devices=4"], ["devices = 4 exceeds the 3 trials"]),
    ([TINY, "--config.sweep.eta=(1, 'a')"], ["sweep.eta = (1, 'a'): 'a' must be a number"]),
    ([TINY, "--config.sweep.eta={}"], ["sweep.eta = '{}' must be up to"]),  # which would sweep nothing
    ([TINY, "--config.sweep.eta", "{0.1: 1}"], ["sweep.eta = '{0.1: 1}' must be"]),
    ([TINY, "--wrokdir=x"], ["there is no flag --wrokdir; did you mean --workdir?"]),
    ([TINY, "--num_seeds=2"], ["there is no flag --num_seeds; did you mean --config.num_seeds?"]),
    ([TINY, "--roh=2"], ["there is no flag --roh; did you mean --config."]),
    (
        [TINY, "--config.sweep.rho=3"],
        ["policy.rho cannot be swept: its declaration names no hparam", "may vary policy_lr"],
    ),
    ([TINY, "--config.policy.learning_rate=0"], ["must be a number above 0, at most"]),
    ([TINY, "--help", "--config.num_seeds=no"], ["num_seeds = 'no' must be"]),
    ([TINY, "more"], ["unexpected argument 'more'"]),
    ([TINY, "--"], ["unexpected argument '--'"]),
    ([TINY, "--config.dataset=gtp/antmaze/umazed-v0"], ["did you mean 'gtp/antmaze/umaze-v0'"]),
    ([TINY, "--config.dataset=../../x-v0"], ["not a dataset id: '../../x-v0'"]),
    ([TINY, "--config.batch_size=5001"], ["batch_size = 5001 must be at most 5000"]),
    ([TINY, "--workdir="], ["--workdir: path '' is empty"]),
    ([TINY, "--workdir=$NOT_SET/x"], ["--workdir: ", "the environment has no NOT_SET"]),
    ([TINY, "--flagfile=nosuch"], ["there is no flag --flagfile"]),
    ([TINY, "--workdir=file"], ["file cannot be made"]),
    ([TINY, "--workdir=locked"], ["Is a directory", "locked/.lock"]),  # as good as no permission to write there
    *(([f"--config={name}.py"], [f"--config={name}.py", says]) for name, (_, says) in CONFIG_FILES.items()),
]


@pytest.mark.parametrize(("words", "says"), MISTAKES, ids=lambda value: " ".join(map(str, value))[:60])
def test_a_mistake_ends_with_one_line_and_leaves_nothing(words, says, tmp_path, monkeypatch, refused):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(run, "start_jax", lambda settings: None)  # JAX has started
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    (tmp_path / "file").write_text("")
    (tmp_path / "locked" / ".lock").mkdir(parents=True)
    for name, (code, _) in CONFIG_FILES.items():
        (tmp_path / f"{name}.py").write_text(code)
    before = sorted(tmp_path.rglob("*"))
    line = refused("run", *words)
    assert all(word in line for word in says), line
    assert sorted(tmp_path.rglob("*")) == before  # no run directory, no data


def test_the_help_shows_words_sweeps_and_the_values_of_a_configuration(capsys):
    assert commands.main(["run", "--help"]) == 0
    output = capsys.readouterr().out
    assert "with the defaults that a preset changes:" in output and "--config.policy.solver='" in output
    assert "(one of none, minus-one," in output and "sweep: eta)" in output and "--config.num_seeds=4 " in output
    assert commands.main(["run", "--help", TINY, "--config.policy.rho=5"]) == 0
    output = capsys.readouterr().out
    assert "--config.num_seeds=2 " in output and "--config.policy.rho=5.0 " in output
    assert "--config.policy.solver" not in output  # of another policy


def test_a_logger_without_its_package_is_refused_before_anything_is_made(tmp_path, monkeypatch, refused):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(run, "start_jax", lambda settings: None)
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    assert "pip install tensorboardX" in refused("run", TINY, "--config.log.tensorboard=True")
    assert list(tmp_path.iterdir()) == []


def test_the_command_is_one_call_of_train(monkeypatch, tmp_path, capsys):
    """With the flags' settings and directory; the exit code is the run's, and a finished run is reported."""
    score = {"per_seed": [5.0], "mean": 5.0, "ci95": [4.0, 6.0]}
    facts = {
        "seeds": [0],
        "dataset": "x",
        "algorithm": "gtp",
        "eval_episodes": 1,
        "score_of": "return",
        "behaviour": {},
    }
    record = {"seed": 0, "lambda_flow": 1e38, "updates": [1, 5], "reason": "critic/loss is not finite"}
    rows = [{"lambda_flow": 1e38, "score": score | {"mean": None}}, {"lambda_flow": 1.0, "score": score}]
    single, sweep = {"score": score, "diverged": []}, {"sweep": rows, "diverged": [record]}
    outcomes = [(None, 143), (facts | single, 0), (facts | sweep, 0)]
    monkeypatch.setattr(run, "start_jax", lambda settings: None)
    for found, code in outcomes:

        def fake(settings, dataset, directory, terminal, found=found, code=code):
            assert settings == preset("antmaze:tiny").replace({"num_updates": 50}) and dataset is None
            assert directory == tmp_path and isinstance(terminal, Terminal)
            return train.Outcome(found, code, lambda: None)

        monkeypatch.setattr(train, "run", fake)
        ended = commands.main(["run", TINY, f"--workdir={tmp_path}", "--config.num_updates=50"])
        assert ended == (code or 3 * bool(found["diverged"]))
    output = capsys.readouterr().out
    assert "95 % interval" in output and "4.0 to 6.0" in output and output.count("5.0 (diverged)") == 1
    assert "seed = 0, lambda_flow = 1e+38 diverged during updates 1 to 5: critic/loss is not finite" in output
    monkeypatch.setattr(train, "run", lambda *_: (_ for _ in ()).throw(playing.EvaluationFailed))
    assert commands.main(["run", TINY]) == playing.FAILED == 70
    monkeypatch.setattr(train, "run", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    assert commands.main(["run", TINY]) == 130 and "the same command resumes" in capsys.readouterr().err


def started(env, **changes):
    """What start_jax leaves, in a process of its own, since JAX reads it only once."""
    program = f"""
import os
from gtp_jax.commands.run import start_jax
from gtp_jax.config.settings import Settings
start_jax(Settings.of({changes!r}))
import jax
print(os.environ["XLA_PYTHON_CLIENT_MEM_FRACTION"], jax.config.jax_default_matmul_precision)
print(len(jax.devices()), jax.config.jax_compilation_cache_dir)
"""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("XLA", "JAX", "XDG"))}
    done = subprocess.run([sys.executable, "-c", program], env=kept | env, text=True, capture_output=True, check=True)
    return done.stdout.split()


@pytest.mark.slow
def test_what_jax_reads_only_once_is_set_before_it_starts(tmp_path):
    """Memory, precision, devices and the cache of compiled programs; what the user set in the environment stays."""
    cache = {"XDG_CACHE_HOME": str(tmp_path)}
    given = {"gpu_memory_fraction": 0.25, "cpu_devices": 3, "matmul_precision": "tensorfloat32"}
    assert started(cache, **given) == ["0.25", "tensorfloat32", "3", str(tmp_path / "gtp_jax" / "compiled")]
    own = {"XLA_PYTHON_CLIENT_MEM_FRACTION": "0.5", "JAX_COMPILATION_CACHE_DIR": str(tmp_path / "mine")}
    assert started(cache | own, num_seeds=1) == ["0.5", "float32", "1", str(tmp_path / "mine")]
    assert started(cache | {"JAX_NUM_CPU_DEVICES": "3"})[2] == "3"


@pytest.mark.slow
def test_a_finished_run_has_all_files_and_is_reported_again(whole, runner):
    directory, output = whole
    names = {path.name for path in directory.iterdir() if not path.name.startswith(".")}
    files = {"config.json", "metrics.jsonl", "metrics.csv", "run.log", "checkpoints", "summary.json", "episodes.json"}
    assert names == files | {"curves.png", "maze.png"}
    assert (directory / "maze.png").read_bytes().startswith(b"\x89PNG")
    method = "gtp, twin_q critic, advantage eta = 1, K = 2, temperature 0.5"
    for word in (method, "gtp/antmaze/umaze-600-v0", "cpu:0", "behaviour policy", str(directory / "summary.json")):
        assert word in output, output
    assert "Traceback" not in output and "Warning" not in output
    assert 0 <= summary_of(directory)["behaviour"]["behaviour_success"] <= 1
    before = times(directory)
    again = runner(f"--workdir={directory}")
    assert "holds the finished run" in again and all("95 % interval" in each for each in (output, again))
    assert times(directory) == before


@pytest.mark.slow
def test_the_same_command_gives_the_same_files_also_with_evaluations_beside(whole, runner):
    for name, changes, says in (
        ("again", {}, "between updates"),
        ("beside", {"eval.overlap": "always"}, "beside the updates"),
    ):
        assert says in runner(f"--workdir={runner.folder / name}", **changes)
        assert differences(runner.folder / name, whole[0], but=("config.json",) * bool(changes)) == []


@pytest.mark.slow
def test_a_killed_run_ends_as_if_nothing_had_been(whole, runner):
    """kill -9 during an evaluation; the same command again: every file bit for bit, and no step is logged twice."""
    directory = runner.folder / "killed"
    child = runner.start(f"--workdir={directory}", **{"log.tensorboard": True})
    wait_until_step(child, directory, 35, checkpoint=25)
    child.kill()
    output = child.communicate()[0]
    assert child.returncode == -signal.SIGKILL, output
    assert not (directory / "summary.json").exists()
    assert "resuming after 25 of 60 updates" in runner(f"--workdir={directory}", **{"log.tensorboard": True})
    assert differences(directory, whole[0], but=("config.json", "tensorboard")) == []
    for seed in (0, 1):
        events = read_events(directory / "tensorboard" / f"seed={seed}")
        assert [step for name, step, _ in events if name == "policy/loss"] == list(range(5, UPDATES + 1, 5))
