"""Trains a model on a corpus of texts, with a state to resume from.

First run:

    python3 -m fma_training.train --config config.json --tokenizer tokenizer.model \\
        --corpus CORPUS --work RUN --steps 2000 --decay-steps 400

Run the same command again to go on from the last saved state; give another --steps to move the end. With
--minutes and --decay-minutes the end is a time: the learning rate is zero when it has come, however fast the
steps are and whatever held them up.
RUN holds the token cache, state.pt and log.txt. Make a checkpoint of it with fma_training.export.
"""

from __future__ import annotations

import argparse
import time
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from .arrays import Integers
from .checks import Words, refusal
from .config import FmaConfig
from .data import cached_tokens, on_device, random_windows
from .loss import language_model_loss
from .model import MakeAttention, fma_attention, make_model
from .objective import Objective, Questions, make_objective
from .optimizer import make_optimizers
from .schedule import Schedule
from .scoring import Score, answer_nats, token_sizes, windows_of
from .tokenizer import ByteTokenizer, SentencePieceTokenizer, Tokenizer
from .workers import Workers

STATE_FILE = "state.pt"
LOG_FILE = "log.txt"
CLIP_NORM = 1.0


class Trainer:
    """Model, optimizers, data and progress of one run."""

    def __init__(
        self,
        config: FmaConfig,
        tokenizer: Tokenizer,
        arguments: argparse.Namespace,
        attention: MakeAttention = fma_attention,
        objective: Objective | None = None,
    ) -> None:
        self.arguments = arguments
        self.workers = Workers()
        shares = f"multiples of the {self.workers.count} processes"
        parts = arguments.batch // arguments.micro_batch
        if parts % self.workers.count:
            raise SystemExit(refusal("--batch / --micro-batch", parts, shares))
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        torch.manual_seed(arguments.seed)
        self.model = make_model(config, arguments.level_bias_columns, attention).to(self.device)
        self.model.model.blocks_at_once = arguments.blocks_at_once
        self.model.model.checkpoint_layers = arguments.checkpoint_layers
        self.objective = objective or make_objective(config)
        if arguments.compile:
            for layer in self.model.model.layers:
                layer.compile(dynamic=False)  # all layers share what is compiled for the first
        self.optimizers = make_optimizers(self.model, arguments.optimizer, arguments.lr, arguments.weight_decay)
        train_tokens, self.valid_tokens = self._tokens(tokenizer)
        self.train_tokens = on_device(train_tokens, self.device)
        self.sizes = token_sizes(tokenizer, config.vocab_size)
        decay = arguments.decay_steps + 1 if arguments.minutes is None else arguments.decay_minutes
        self.schedule = Schedule(arguments.warmup_steps, decay)
        self.step = 0
        self.seconds = 0.0
        self.minutes_before = 0.0
        self.began = time.monotonic()
        if (arguments.work / STATE_FILE).is_file():
            self._load_state()

    def run(self) -> None:
        """Trains to the end, or until --max-minutes of this call have passed."""
        arguments = self.arguments
        saved = reported = time.monotonic()
        steps, first_step = 0, self.step
        last = self._left() <= 0
        while not last:
            started = time.monotonic()
            loss, questions = self._train_step()
            steps += 1
            last = self._left() <= 0
            if self.step % arguments.log_every == 0 or last:
                bits = self._bits_per_byte(loss, questions)  # waits for the device
                self._report(float(loss), bits, (time.monotonic() - reported) / steps)
                reported, steps = time.monotonic(), 0
            self.seconds += time.monotonic() - started
            if self.step % arguments.valid_every == 0 or last:
                if self.workers.first:
                    self._log(f"step {self.step} validation {self.validate():.4f} bits per byte")
                reported = time.monotonic()
            stops = self._minutes() > arguments.max_minutes or self.step - first_step >= arguments.max_steps
            if time.monotonic() - saved > 60 * arguments.save_minutes or stops:
                self.save_state()
                saved = reported = time.monotonic()
            if stops:
                self._log(f"step {self.step} stopped; the same command goes on")
                return
        self.save_state()

    def _left(self) -> float:
        """Steps up to the end, or minutes under --minutes."""
        if self.arguments.minutes is None:
            return self.arguments.steps - self.step
        return self.arguments.minutes - self.minutes_before - self._minutes()

    def _minutes(self) -> float:
        """Minutes of this call, by the first process's clock; all processes must ask together."""
        return self.workers.agree(self._own_minutes())

    def _own_minutes(self) -> float:
        return (time.monotonic() - self.began) / 60

    def validate(self) -> float:
        """Bits per byte of the tokens to predict in the first --valid-windows windows of the validation text."""
        arguments, score = self.arguments, Score()
        rng = np.random.default_rng(arguments.seed)  # hides the same tokens each time
        tokens = self.valid_tokens[: arguments.valid_windows * arguments.context]
        for windows in windows_of(tokens, arguments.context, arguments.micro_batch):
            if windows.shape != (arguments.micro_batch, arguments.context):
                break  # only whole batches, so that a compiled model sees one shape
            questions = self.objective(torch.from_numpy(windows).to(self.device), rng)
            with self._autocast():
                nats = answer_nats(self.model.model, self.model.head_weight, questions)
            score.add(nats, self.sizes[questions.answers.cpu().numpy()])
        return score.bits_per_byte

    def save_state(self) -> None:
        """Writes everything a resumed run needs; an interrupted save leaves the old state."""
        if not self.workers.first:
            return
        state = {
            "model": self.model.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "step": self.step,
            "seconds": self.seconds,
            "minutes": self.minutes_before + self._own_minutes(),
        }
        path = self.arguments.work / STATE_FILE
        torch.save(state, path.with_suffix(".partial"))
        path.with_suffix(".partial").replace(path)

    def _tokens(self, tokenizer: Tokenizer) -> tuple[Integers, Integers]:
        """The texts' tokens; the first process makes their files, and the others find them."""
        arguments = self.arguments
        if not self.workers.first:
            self.workers.wait()
        folder = arguments.token_cache or arguments.work
        train, valid = (cached_tokens(arguments.corpus, split, tokenizer, folder) for split in ("train", "valid"))
        if self.workers.first:
            self.workers.wait()
        return train, valid

    def _load_state(self) -> None:
        # The state is this trainer's own file; a pickle from elsewhere could run code.
        state = torch.load(self.arguments.work / STATE_FILE, map_location=self.device)
        self.model.load_state_dict(state["model"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"]):
            optimizer.load_state_dict(saved)
        self.step, self.seconds = state["step"], state["seconds"]
        self.minutes_before = state.get("minutes", 0.0)
        self._log(f"step {self.step} resumed")

    def _train_step(self) -> tuple[Tensor, Questions]:
        """One optimizer step; returns its loss in nats per answer and its questions, without waiting for either."""
        arguments = self.arguments
        # Seeded by the step: a resumed run sees the windows that an uninterrupted one would.
        rng = np.random.default_rng([arguments.seed, self.step])
        windows = random_windows(self.train_tokens, arguments.batch, arguments.context, rng)
        questions = self.objective(windows, rng)
        parts = questions.split(arguments.micro_batch)
        own = parts[self.workers.rank :: self.workers.count]
        loss = self.workers.sum(torch.stack([self._accumulate(part, len(parts)) for part in own]).sum())
        self.workers.sum_gradients(self.model.parameters())
        nn.utils.clip_grad_norm_(self.model.parameters(), CLIP_NORM)
        lr = arguments.lr * self.schedule.factor(self.step, self._left())
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = lr
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.step += 1
        return loss, questions

    def _bits_per_byte(self, loss: Tensor, questions: Questions) -> float:
        """Bits per byte from the answers' mean loss in nats."""
        answers = questions.answers.cpu().numpy()
        return float(loss) * answers.size / np.log(2) / self.sizes[answers].sum()

    def _accumulate(self, questions: Questions, parts: int) -> Tensor:
        """Adds a micro-batch's gradients and returns its share of the loss."""
        with self._autocast():
            hidden = self.model.model(questions.inputs)
        product_type = torch.bfloat16 if self.arguments.bf16 else torch.float32
        loss = language_model_loss(
            questions.asked(hidden).to(product_type), self.model.head_weight, questions.answers.flatten()
        )
        (loss / parts).backward()
        return loss.detach() / parts

    def _autocast(self) -> AbstractContextManager[None]:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.arguments.bf16)

    def _report(self, loss: float, bits: float, step_seconds: float) -> None:
        arguments, left = self.arguments, max(0.0, self._left())
        minutes_left = left * step_seconds / 60 if arguments.minutes is None else left
        of = f"/{arguments.steps}" if arguments.minutes is None else ""
        lr = self.optimizers[0].param_groups[0]["lr"]
        self._log(
            f"step {self.step}{of} loss {loss:.4f} bpb {bits:.4f} lr {lr:.2e} "
            f"{arguments.batch * arguments.context / step_seconds:.0f} tokens/s, "
            f"{self.seconds / 60:.1f} min done, {minutes_left:.1f} min left"
        )

    def _log(self, line: str) -> None:
        if not self.workers.first:
            return
        print(line, flush=True)
        with (self.arguments.work / LOG_FILE).open("a", encoding="utf-8") as log:
            log.write(line + "\n")


def parse_arguments(words: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--config", type=Path, required=True, help="config.json of the model to train")
    add("--corpus", type=Path, required=True, help="folder of *-train*.txt and *-valid*.txt, plain or .xz")
    add("--work", type=Path, required=True, help="folder of this run: tokens, state, log")
    add("--token-cache", type=Path, help="folder of the tokens, for runs that share them (default: --work)")
    add("--tokenizer", type=Path, help='tokenizer.model; not needed when the config says "tokenizer": "bytes"')
    add("--level-bias-columns", type=int, help="levels that the context reaches, when the config has more")
    add("--context", type=int, default=2048, help="tokens per window (default %(default)s)")
    add("--batch", type=int, default=8, help="windows per step (default %(default)s)")
    add("--micro-batch", type=int, default=4, help="windows at a time; divides --batch (default %(default)s)")
    add("--steps", type=int, default=1000, help="the last step of the schedule (default %(default)s)")
    add("--warmup-steps", type=int, default=50, help="(default %(default)s)")
    add("--decay-steps", type=int, default=200, help="steps of linear decay at the end (default %(default)s)")
    add("--minutes", type=float, help="end after so many minutes, in all calls together, in place of --steps")
    add("--decay-minutes", type=float, default=1, help="minutes of linear decay under --minutes (default %(default)s)")
    add("--blocks-at-once", type=int, help="blocks of queries whose scores are in memory; all when left out")
    add("--checkpoint-layers", action="store_true", help="keep layers' inputs alone and make the rest again")
    add("--optimizer", choices=("adamw", "muon"), default="adamw", help="(default %(default)s)")
    add("--lr", type=float, default=2e-3, help="peak learning rate (default %(default)s)")
    add("--weight-decay", type=float, default=0.1, help="on matrices only (default %(default)s)")
    add("--seed", type=int, default=0)
    add("--threads", type=int, default=1, help="CPU threads (default %(default)s)")
    either = argparse.BooleanOptionalAction
    add("--bf16", action=either, default=False, help="products in bfloat16, sums and norms in float32")
    compiles = "torch.compile the layers (PyTorch 2.2 and a C++ compiler)"
    add("--compile", action=either, default=False, help=compiles)
    add("--log-every", type=int, default=10, help="steps (default %(default)s)")
    add("--valid-every", type=int, default=200, help="steps (default %(default)s)")
    add("--valid-windows", type=int, default=64, help="windows per validation (default %(default)s)")
    add("--save-minutes", type=float, default=3, help="minutes between saved states (default %(default)s)")
    add("--max-minutes", type=float, default=float("inf"), help="stop this call after so many minutes")
    add("--max-steps", type=int, default=float("inf"), help="stop this call after so many steps")
    arguments = parser.parse_args(words)
    if arguments.batch % arguments.micro_batch:
        parser.error(refusal("--micro-batch", arguments.micro_batch, f"divisors of --batch ({arguments.batch})"))
    if arguments.minutes is not None and not arguments.decay_minutes > 0:
        parser.error(refusal("--decay-minutes", arguments.decay_minutes, "above 0"))
    return arguments


def _tokenizer(config: FmaConfig, model_file: Path | None) -> Tokenizer:
    if config.tokenizer == "bytes":
        return ByteTokenizer()
    if model_file is None:
        raise SystemExit(refusal("--tokenizer", Words("missing"), 'none with "tokenizer": "bytes" in the config only'))
    tokenizer = SentencePieceTokenizer(model_file)
    if tokenizer.vocab_size > config.vocab_size:
        raise SystemExit(
            refusal(
                f"{model_file}", Words(f"{tokenizer.vocab_size} ids"), f"{config.vocab_size}, the config's vocab_size"
            )
        )
    return tokenizer


def main(words: list[str] | None = None) -> None:
    arguments = parse_arguments(words)
    torch.set_num_threads(arguments.threads)
    arguments.work.mkdir(parents=True, exist_ok=True)
    config = FmaConfig.load(arguments.config)
    tokenizer = _tokenizer(config, arguments.tokenizer)
    trainer = Trainer(config, tokenizer, arguments)
    trainer.run()
    trainer.workers.leave()


if __name__ == "__main__":
    main()
