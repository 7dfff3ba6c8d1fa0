"""The trainer modes ``medeyes_sync``, ``medeyes_colocate_async`` and ``medeyes_separate_async``.

Each is veRL's trainer of that mode with one mixin. Around its steps the mixin does what two streams need, and
keeps what a report shows:

- after the old log-probabilities: mark the expert rows and tokens, set theirs to log π_expert = 0;
- around the advantages: label the prompt id each row carries with its stream, so that statistics are taken per
  (prompt, stream), and put the plain id back. Keys are untouched: replay, balancing, filtering and dumps see
  the groups as they are;
- before anything is computed: stop where rows could not be scored, or where experts meet a loss that knows none;
- in the first step: warn where the expert stream teaches nothing;
- around a validation: keep its episodes;
- with a checkpoint: keep the policy's past successes, where they are replayed.
"""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray
import torch
import transfer_queue as tq
from omegaconf import DictConfig, open_dict
from transfer_queue import KVBatchMeta
from verl.trainer.ppo.v1 import (
    PPOTrainerColocateAsync,
    PPOTrainerSeparateAsync,
    PPOTrainerSync,
    register_trainer,
)
from verl.utils import tensordict_utils as tu
from verl.utils.config import omega_conf_to_dataclass

from medeyes_verl.config.settings import dual_stream_settings, rollout_settings
from medeyes_verl.plugin.expert_check import first_step_warning
from medeyes_verl.plugin.inventory import require_everything
from medeyes_verl.plugin.metrics import divided, expert_probability, own_rows, stream_metrics
from medeyes_verl.plugin.objective import BEHAVIOUR, EXPERT_SHARE, EXPERT_TOKENS, STEP, dual_stream_ppo_loss
from medeyes_verl.plugin.preflight import objective_problems, preflight, refuse_problems
from medeyes_verl.plugin.replay_actor import make_replay, successes
from medeyes_verl.plugin.reward_errors import RewardErrors
from medeyes_verl.plugin.rule_rows import (
    behaviour_field,
    expert_share,
    expert_tokens,
    gate_metrics,
    require_behaviour,
    weight_metrics,
)
from medeyes_verl.plugin.run_files import keep_run_files
from medeyes_verl.plugin.streams import EXPERT, MODE_MARK, ON_POLICY, labelled, stream_of
from medeyes_verl.plugin.validation_figures import kept_rows, output_of, record_validation

if TYPE_CHECKING:
    from verl.trainer.ppo.v1.trainer_base import PPOTrainer as _Base
else:
    _Base = object


POLL_SECONDS = 0.2
"""How often a step looks whether its rollouts are there. veRL's 2 s (replay_buffer.py:144, no setting) is a quarter
of a tiny policy's whole step."""


class DualStreamMixin(_Base):
    """Two streams for one of veRL's PPO trainers; ``base_mode`` is that trainer's own mode name."""

    base_mode: str

    def __init__(self, config: DictConfig) -> None:
        require_everything()
        refuse_problems(preflight(config, tables=False))  # the dataset checks its tables when it is made
        keep_run_files(config)
        self.rollout = rollout_settings(config)
        self.dual_stream = dual_stream_settings(config.algorithm)
        replays = self.rollout.off_policy_source != "experts"
        self.replay = make_replay(self.rollout.replay) if replays else None
        self.reward_errors = RewardErrors()
        self.first_step_checked = False
        with open_dict(config):  # veRL compares the mode by name and knows only its own (trainer_base.py:129,153,…)
            config.trainer.v1[MODE_MARK] = config.trainer.v1.trainer_mode
            config.trainer.v1.trainer_mode = self.base_mode
        super().__init__(config)
        self.replay_buffer.poll_interval = min(self.replay_buffer.poll_interval, POLL_SECONDS)

    def on_init_end(self) -> None:
        super().on_init_end()
        actor_config = omega_conf_to_dataclass(self.config.actor_rollout_ref.actor)
        loss = partial(dual_stream_ppo_loss, config=actor_config, settings=self.dual_stream)
        self.actor_rollout_wg.set_loss_fn(loss)

    def _compute_old_log_prob(self, batch: KVBatchMeta, metrics: dict[str, Any]) -> KVBatchMeta:
        real = [not tag.get("is_padding", False) for tag in batch.tags]
        extra_fields = [fields for fields, is_real in zip(self._extra_fields(batch), real, strict=True) if is_real]
        self.reward_errors.check(extra_fields, f"training step {self.global_steps}")
        expert_B = self._expert_rows(batch)
        if expert_B.any():
            refuse_problems(objective_problems(self.config))
        batch = super()._compute_old_log_prob(batch, metrics)
        fields = ["old_log_probs", "response_mask", "responses"]
        # in bypass mode veRL takes the engine's log-probabilities as they are: there is nothing to compare
        recomputed = not self.config.algorithm.rollout_correction.bypass_mode
        if recomputed:
            fields.append("entropy")
            if self.config.actor_rollout_ref.rollout.calculate_log_probs:
                fields.append("rollout_log_probs")
        behaviour = behaviour_field(self.dual_stream)
        if behaviour is not None and behaviour not in fields:
            fields.append(behaviour)
        rows = self._get(batch, *fields)
        tokens_B = expert_tokens(self._extra_fields(batch), rows, expert_B)
        if recomputed:
            metrics.update(own_rows(rows, expert_B))
            metrics.update(expert_probability(rows, expert_B, tokens_B))
        if behaviour is not None:
            metrics.update(require_behaviour(rows, behaviour, expert_B))
            self._put(batch, **{BEHAVIOUR: rows[behaviour]})
        old_log_probs = [
            torch.cat([torch.zeros_like(row[:count]), row[count:]])
            for row, count in zip(rows["old_log_probs"].unbind(), tokens_B.tolist(), strict=True)
        ]
        self._put(
            batch,
            old_log_probs=torch.nested.as_nested_tensor(old_log_probs, layout=torch.jagged),
            expert=expert_B.long(),
            **{EXPERT_TOKENS: tokens_B},
        )
        return batch

    def _compute_advantage(self, batch: KVBatchMeta, metrics: dict[str, Any]) -> KVBatchMeta:
        expert_B = self._expert_rows(batch)
        uids = [str(uid) for uid in list(self._get(batch, "uid")["uid"])]
        streams = [EXPERT if expert else ON_POLICY for expert in expert_B.tolist()]
        self._put(batch, uid=[labelled(uid, stream) for uid, stream in zip(uids, streams, strict=True)])
        try:
            batch = super()._compute_advantage(batch, metrics)
        finally:
            self._put(batch, uid=uids)
        rows = self._get(batch, "advantages", "response_mask", "extra_fields", "rm_scores")
        real = [not tag.get("is_padding", False) for tag in batch.tags]
        of_streams = stream_metrics(rows, uids, streams, real)
        of_streams.update(gate_metrics(rows, uids, streams, real, self.dual_stream))
        metrics.update(of_streams)
        if not self.first_step_checked:
            self.first_step_checked = True
            if warning := first_step_warning(of_streams, self.rollout, self.dual_stream):
                print(warning, flush=True)
        if self.replay is not None:
            rows = self._get(batch, "extra_fields", "extra_info", "rm_scores")
            kept = ray.get(self.replay.add.remote(successes(rows, real, expert_B, self.global_steps)))
            metrics["medeyes/replay/trajectories"] = float(kept)
        return batch

    def _save_checkpoint(self) -> None:
        super()._save_checkpoint()
        if self.replay is not None:
            ray.get(self.replay.save.remote(str(self._step_folder())))

    def _load_checkpoint(self) -> None:
        super()._load_checkpoint()
        if self.replay is not None and self.global_steps > 0:
            named = self.config.trainer.resume_mode == "resume_path"
            folder = Path(self.config.trainer.resume_from_path) if named else self._step_folder()
            ray.get(self.replay.restore.remote(str(folder.absolute())))

    def _step_folder(self) -> Path:
        """Where veRL keeps the checkpoint of the current step (trainer_base.py:_save_checkpoint)."""
        return Path(self.config.trainer.default_local_dir).absolute() / f"global_step_{self.global_steps}"

    def _compute_metrics(self, batch: KVBatchMeta, *args: Any, **kwargs: Any) -> None:
        for tag in batch.tags:  # rows that no engine wrote, such as a user's own demonstrations, are of this step
            for version in ("min_global_steps", "max_global_steps"):
                if tag.get(version) is None:
                    tag[version] = self.global_steps - 1
        super()._compute_metrics(batch, *args, **kwargs)

    def _update_actor(self, batch: KVBatchMeta, metrics: dict[str, Any]) -> KVBatchMeta:
        by_tokens = self.config.actor_rollout_ref.actor.loss_agg_mode.startswith("token")
        real = [not tag.get("is_padding", False) for tag in batch.tags]
        share = expert_share(self._get(batch, "response_mask"), self._expert_rows(batch), real, by_tokens)
        batch.extra_info.update(
            {STEP: self.global_steps, EXPERT_SHARE: share}
        )  # reaches the loss as "temperature" does
        metrics.update(weight_metrics(self.dual_stream, self.global_steps, share))
        batch = super()._update_actor(batch, metrics)
        divided(metrics)
        return batch

    def _validate(self) -> dict[str, float]:
        with kept_rows(self.replay_buffer, output_of(self.config)) as kept:
            metrics: dict[str, float] = super()._validate()
        self.reward_errors.check(kept.extra_fields, f"validation at step {self.global_steps}")
        record_validation(kept, self.config, self.processor, self.logger, self.global_steps)
        return metrics

    def _expert_rows(self, batch: KVBatchMeta) -> torch.Tensor:
        """(B,) True for expert trajectories. A padding row copies another row's fields and is nobody's."""
        return torch.tensor(
            [
                stream_of(fields) == EXPERT and not tag.get("is_padding", False)
                for fields, tag in zip(self._extra_fields(batch), batch.tags, strict=True)
            ]
        )

    def _extra_fields(self, batch: KVBatchMeta) -> list[dict[str, Any]]:
        return list(self._get(batch, "extra_fields")["extra_fields"])

    @staticmethod
    def _get(batch: KVBatchMeta, *fields: str) -> Any:
        return tq.kv_batch_get(keys=batch.keys, partition_id=batch.partition_id, select_fields=list(fields))

    @staticmethod
    def _put(batch: KVBatchMeta, **fields: Any) -> None:
        tq.kv_batch_put(keys=batch.keys, partition_id=batch.partition_id, fields=tu.get_tensordict(fields))


@register_trainer("medeyes_sync")
class MedEyesSync(DualStreamMixin, PPOTrainerSync):
    """Trainer and rollout take turns on the same devices."""

    base_mode = "sync"


@register_trainer("medeyes_colocate_async")
class MedEyesColocateAsync(DualStreamMixin, PPOTrainerColocateAsync):
    """The same devices, with rollouts that may span an update."""

    base_mode = "colocate_async"


@register_trainer("medeyes_separate_async")
class MedEyesSeparateAsync(DualStreamMixin, PPOTrainerSeparateAsync):
    """Rollout on devices of its own, ahead of the trainer."""

    base_mode = "separate_async"
