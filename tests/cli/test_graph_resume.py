"""`convnn graph` killed, signalled and resumed: the same bytes, and never half a file."""

import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from convnn.cli import main
from convnn.graphs import adjacency
from convnn.graphs.coarsen.run import CoarseningRun
from convnn.graphs.embed import GraphVite, Training
from convnn.graphs.random_features import FeatureWalks, walking
from launch import start, wait
from programs import embed_slowly

EMBED = ["embed", "--dim", "4", "--epochs", "30", "--num_parts", "2"]
COARSEN = ["coarsen", "--n", "6", "--n_init", "4"]
FEATURES = ["features", "--walks", "8"]
TASKS = {
    "embed": (EMBED, Training),
    "features": (FEATURES, FeatureWalks),
    "coarsen": (COARSEN, CoarseningRun),
    "coarsen sparse": (COARSEN, CoarseningRun),
}


@pytest.fixture
def edges(tmp_path: Path) -> Path:
    path = tmp_path / "edges.csv"
    path.write_text("".join(f"{i},{(i * i + step) % 31},{1 + i % 4}\n" for i in range(31) for step in (1, 2, 5)))
    return path


def words(task: str, edges: Path, out: Path, *more: str) -> list[str]:
    name, *flags = TASKS[task][0]
    return ["graph", name, str(edges), "--out", str(out), *flags, *more]


def written(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (sorted(out.iterdir()) if out.is_dir() else [out])}


def interrupt(kind: type, after: int, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Send a signal while step `after` is taken."""
    advance, steps = kind.advance, []

    def counted(run: Any) -> None:
        steps.append(None)
        if len(steps) == after:
            signal.raise_signal(number)
        advance(run)

    monkeypatch.setattr(kind, "advance", counted)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_step_and_resume_gives_the_same_bytes(
    task: str, number: int, edges: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    if task == "coarsen sparse":
        monkeypatch.setattr(adjacency, "DENSE", 10)
    monkeypatch.setattr(walking, "WALKS", 64)
    whole, out = tmp_path / "whole", tmp_path / "out"
    assert main(words(task, edges, whole)) == 0
    for after in (1, 3):
        with monkeypatch.context() as patch:
            interrupt(TASKS[task][1], after, number, patch)
            assert main(words(task, edges, out, "--resume")) == 128 + number
        assert "out.unfinished', add --resume to the same command" in capsys.readouterr().out
        assert not out.exists()
        assert (tmp_path / "out.unfinished").exists()
    assert main(words(task, edges, out)) == 2
    assert "is a run that has not ended; pass --resume to go on" in capsys.readouterr().err
    assert main(words(task, edges, out, "--resume")) == 0
    assert list(written(out).values()) == list(written(whole).values())
    assert not list(tmp_path.glob("*.unfinished"))


@pytest.mark.slow
def test_after_a_kill_at_any_moment_the_vectors_have_the_same_bits(edges: Path, tmp_path: Path) -> None:
    whole, out, kept = tmp_path / "whole.npy", tmp_path / "out.npy", tmp_path / "out.npy.unfinished"
    assert main(words("embed", edges, whole)) == 0
    for delay in (0.0, 0.03):
        before = kept.read_bytes() if kept.exists() else b""
        process = start(embed_slowly, words("embed", edges, out, "--resume"), log=tmp_path / "log.txt")
        end = time.monotonic() + 100
        while not kept.exists() or kept.read_bytes() == before:
            assert process.is_alive()
            assert time.monotonic() < end
            time.sleep(0.005)
        time.sleep(delay)
        process.kill()
        assert wait(process) == -signal.SIGKILL
        assert not out.exists()
    assert main(words("embed", edges, out, "--resume")) == 0
    assert out.read_bytes() == whole.read_bytes()
    assert not kept.exists()


def test_what_is_kept_must_fit(edges: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    out, kept = tmp_path / "out", tmp_path / "out.unfinished"
    with pytest.MonkeyPatch.context() as patch:
        interrupt(Training, 2, signal.SIGTERM, patch)
        assert main(words("embed", edges, out)) == 143
    good = kept.read_bytes()

    def refused(*more: str) -> str:
        assert main(words("embed", edges, out, "--resume", *more)) == 2
        assert kept.exists()
        assert not out.exists()
        return capsys.readouterr().err

    assert "began with another dim, 4, not 5; resume with the same, or pass --overwrite" in refused("--dim", "5")
    assert "began with another seed, 0, not 1" in refused("--seed", "1")
    assert main(words("coarsen", edges, out, "--resume")) == 2
    assert "began with another task, embed, not coarsen" in capsys.readouterr().err
    kept.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    assert "is damaged" in refused()
    kept.write_bytes(b"")
    assert "is truncated" in refused()
    kept.write_bytes(good)
    edges.write_text(edges.read_text() + "0,7\n")
    assert "began with another edges" in refused()
    assert main(words("embed", edges, out, "--overwrite")) == 0
    assert not kept.exists()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--checkpoint_every", "500"], "--checkpoint_every=500 must be a time such as 90s, 15m or 2h"),
        (["--checkpoint_every", "soon"], "--checkpoint_every='soon'"),
        (["--out", "nowhere/at/all.npy"], "--out=nowhere/at/all.npy is in no folder"),
    ],
)
def test_mistakes(more: list[str], message: str, edges: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(words("embed", edges, tmp_path / "out", *more)) == 2
    assert message in capsys.readouterr().err


def test_a_training_goes_on_from_its_state() -> None:
    """Also without the command; a state of other embeddings is refused."""
    edge_index = torch.randint(20, (2, 60), generator=torch.Generator().manual_seed(0))
    settings: Callable[[], GraphVite] = lambda: GraphVite(3, epochs=20, num_parts=2, seed=5)  # noqa: E731
    whole, run = settings().fit(edge_index), settings().begin(edge_index)
    while not run.is_over:
        tensors, places = run.state()
        run = settings().begin(edge_index)
        run.restore({name: tensor.clone() for name, tensor in tensors.items()}, places)
        run.advance()
    assert run.model.vertex.weight.data.equal(whole.embedding_)
    with pytest.raises(ValueError, match=r"the state must have context of shape \(20, 3\)"):
        run.restore({"vertex": torch.zeros(20, 3)}, {})
