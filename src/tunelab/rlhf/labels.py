"""PPO where an action is a label: a classifier draws labels, a reward model says what they are worth.

An episode is one action long, so there is nothing to discount; the value of a row is exact, the mean reward
over what the policy would draw. The surrogate is PPO's (Schulman et al. 2017, arXiv:1707.06347, equation 7),
the distance KL(pi || p_ref) is summed over the labels. A round is one pass of drawing over all rows; what it
drew is kept in a file, so that a run that goes on in the middle of a round learns from the same labels.
"""

# N rows, B rows of a batch, C labels

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load, save
from torch import Tensor

from tunelab.errors import TrainingError
from tunelab.files import write_atomically, write_json

__all__ = ["Labels", "labels_objective"]


@dataclass
class Labels:
    """Rows with labels to learn from: in the loop's eyes rows with lengths.

    rows: the training rows as the loop would take them (`Examples`); ask: the policy's outputs for all of
    them, [N, C]; worth_NC: the reward of each label; reference_NC: log-probabilities of the model as it was;
    folder: where each round's labels are kept until the run ends.
    """

    rows: Any
    ask: Callable[[], np.ndarray]
    worth_NC: np.ndarray
    reference_NC: np.ndarray
    folder: Path
    seed: int
    passes: int = 2
    _round: int = -1
    _held: dict[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each row."""
        lengths: np.ndarray = self.rows.lengths
        return lengths

    @property
    def one_more(self) -> int | None:
        """What one more pass takes, in tokens."""
        found: int | None = self.rows.one_more
        return found

    def begin(self, epoch: int) -> dict[str, float]:
        """Draws a label for each row where a round is due; what is to be told of it."""
        wanted, first = divmod(epoch, self.passes)
        if wanted == self._round:
            return {}
        told: dict[str, float] = {}
        path = self.folder / f"round-{wanted:05d}.safetensors"
        if path.is_file():
            self._held = load(path.read_bytes())
        elif first:
            raise TrainingError(
                f"{path} is missing: the run cannot go on in the middle of a round; begin anew"
            )
        else:
            self._held, told = self._drawn(wanted)
            path.parent.mkdir(parents=True, exist_ok=True)
            write_json(path.with_suffix(".json"), told)  # (the other file says that the round is whole)
            write_atomically(path, save(self._held))
        self._round = wanted
        return told

    def forget(self) -> None:
        """Nothing has been drawn."""
        self._round, self._held = -1, {}

    def batch(self, which: np.ndarray, device: str) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Inputs, and by name what the objective needs of each row."""
        inputs, _ = self.rows.batch(which, device)
        at = torch.from_numpy(which)
        return inputs, {name: values[at].to(device) for name, values in self._held.items()}

    def _drawn(self, number: int) -> tuple[dict[str, Tensor], dict[str, float]]:
        began = time.monotonic()
        logps_NC = torch.from_numpy(self.ask()).double().log_softmax(-1)
        chances_NC = logps_NC.exp()
        draws_N1 = torch.from_numpy(np.random.default_rng([self.seed, 3, number]).random((len(self), 1)))
        actions_N = (chances_NC.cumsum(1) < draws_N1).sum(1).clamp(max=chances_NC.shape[1] - 1)
        worth_NC = torch.from_numpy(self.worth_NC).double()
        rewards_N = worth_NC.gather(1, actions_N[:, None]).squeeze(1)
        advantages_N = rewards_N - (chances_NC * worth_NC).sum(1)
        spread = float(advantages_N.std()) if len(self) > 1 else 0.0
        reference_NC = torch.from_numpy(self.reference_NC).double()
        kl = float((chances_NC * (logps_NC - reference_NC)).sum(1).mean())
        held = {
            "actions": actions_N,
            "old_logps": logps_NC.gather(1, actions_N[:, None]).squeeze(1).float(),
            "advantages": (advantages_N / max(spread, 1e-8)).float(),
            "reference": reference_NC.float(),
        }
        return {name: value.contiguous() for name, value in held.items()}, {
            "reward": float(rewards_N.mean()),
            "kl": kl,
            "entropy": -float((chances_NC * logps_NC).sum(1).mean()),
            "rollout_seconds": time.monotonic() - began,
            "reward_seconds": 0.0,
        }


def labels_objective(clip: float, kl: float) -> Callable[[Tensor, dict[str, Tensor]], tuple[Tensor, Tensor]]:
    """The clipped surrogate and `kl` for each nat away from the model as it was: summed loss, and rows."""

    def objective(logits_BC: Tensor, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        logps_BC = logits_BC.float().log_softmax(-1)
        own_B = logps_BC.gather(1, batch["actions"][:, None]).squeeze(1)
        ratio_B = (own_B - batch["old_logps"]).exp()
        advantages_B = batch["advantages"]
        gained_B = torch.minimum(ratio_B * advantages_B, ratio_B.clamp(1 - clip, 1 + clip) * advantages_B)
        moved_B = (logps_BC.exp() * (logps_BC - batch["reference"])).sum(1)
        count = torch.tensor(float(len(own_B)), device=own_B.device)
        return (kl * moved_B - gained_B).sum(), count

    return objective
