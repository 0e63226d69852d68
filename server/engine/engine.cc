#include "server/engine/engine.h"

#include <algorithm>
#include <random>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "server/engine/generate_sequence.h"
#include "server/engine/score_sequence.h"
#include "server/engine/validate.h"

namespace fmaserver {
namespace {

absl::Status ValidateOptions(const EngineOptions& options, const Model& model) {
  const auto at_least = [](absl::string_view name, int32_t value, int32_t least) {
    return value >= least ? absl::OkStatus()
                          : absl::InvalidArgumentError(absl::StrCat(
                                name, " is ", value, "; allowed: ", least, " or more"));
  };
  absl::Status status = at_least("num_slots", options.num_slots, 1);
  status.Update(at_least("max_queue", options.max_queue, 0));
  status.Update(at_least("step_tokens", options.step_tokens, 1));
  if (!status.ok()) return status;
  if (model.options().max_rows < Engine::MaxRows(options)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "the model takes ", model.options().max_rows, " rows a step; ", options.num_slots,
        " slots and ", options.step_tokens, " prompt tokens need ", Engine::MaxRows(options)));
  }
  return absl::OkStatus();
}

uint64_t RandomSeed() {
  std::random_device device;
  return (uint64_t{device()} << 32) | device();
}

}  // namespace

absl::StatusOr<std::unique_ptr<Engine>> Engine::Create(std::unique_ptr<Model> model,
                                                       std::shared_ptr<const Tokenizer> tokenizer,
                                                       EngineOptions options) {
  if (absl::Status status = ValidateOptions(options, *model); !status.ok()) return status;
  absl::StatusOr<std::unique_ptr<SlotPool>> slots =
      SlotPool::Create(model->backend(), model->slot_bytes(), options.num_slots);
  if (!slots.ok()) return slots.status();
  return std::unique_ptr<Engine>(
      new Engine(std::move(model), std::move(tokenizer), options, *std::move(slots)));
}

Engine::Engine(std::unique_ptr<Model> model, std::shared_ptr<const Tokenizer> tokenizer,
               EngineOptions options, std::unique_ptr<SlotPool> slots)
    : model_(std::move(model)),
      tokenizer_(std::move(tokenizer)),
      options_(options),
      slots_(std::move(slots)),
      thread_([this] { Run(); }) {}

Engine::~Engine() {
  Drain(absl::ZeroDuration());
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
  }
  work_.notify_one();
  thread_.join();
}

absl::StatusOr<RequestId> Engine::Submit(GenerateRequest request,
                                         std::shared_ptr<GenerateSink> sink) {
  if (absl::Status status = Validate(request, model_->config()); !status.ok()) return status;
  const uint64_t seed = request.sampling.seed.value_or(RandomSeed());
  return Enqueue(std::make_unique<GenerateSequence>(
      NextId(), std::move(request), seed, std::move(sink), model_->config(), tokenizer_.get()));
}

absl::StatusOr<RequestId> Engine::Submit(ScoreRequest request, std::shared_ptr<ScoreSink> sink) {
  if (absl::Status status = Validate(request, model_->config()); !status.ok()) return status;
  return Enqueue(std::make_unique<ScoreSequence>(NextId(), std::move(request), std::move(sink)));
}

RequestId Engine::NextId() {
  std::lock_guard lock(mutex_);
  return ++last_id_;
}

absl::StatusOr<RequestId> Engine::Enqueue(std::unique_ptr<Sequence> sequence) {
  const RequestId id = sequence->id();
  {
    std::lock_guard lock(mutex_);
    if (draining_) return absl::UnavailableError("the server is shutting down; try another one");
    const int64_t free = options_.num_slots - num_running_;
    if (static_cast<int64_t>(waiting_.size()) >= free + options_.max_queue) {
      return absl::ResourceExhaustedError(absl::StrCat("all ", options_.num_slots,
                                                       " slots are taken and ", options_.max_queue,
                                                       " requests wait already; try again later"));
    }
    waiting_.push_back(std::move(sequence));
  }
  work_.notify_one();
  return id;
}

void Engine::Cancel(RequestId id) {
  {
    std::lock_guard lock(mutex_);
    cancelled_.push_back(id);
  }
  work_.notify_one();
}

void Engine::Drain(absl::Duration grace) {
  std::unique_lock lock(mutex_);
  draining_ = true;
  const auto none_left = [this] {
    return waiting_.empty() && num_running_ == 0 && num_dropped_ == 0;
  };
  if (idle_.wait_for(lock, absl::ToChronoNanoseconds(grace), none_left)) return;
  evict_ = true;
  work_.notify_one();
  idle_.wait(lock, none_left);
}

int32_t Engine::FreeSlots() const {
  std::lock_guard lock(mutex_);
  return options_.num_slots - num_running_;
}

void Engine::Run() {
  while (CollectWork()) {
    if (!running_.empty()) Step();
  }
}

/// Waits for something to do, drops what was cancelled, admits what waits. False: stop.
bool Engine::CollectWork() {
  Sequences dropped;
  bool evicted = false;
  {
    std::unique_lock lock(mutex_);
    num_running_ = static_cast<int32_t>(running_.size());
    num_dropped_ = 0;
    if (running_.empty() && waiting_.empty()) idle_.notify_all();
    work_.wait(lock, [this] {
      return stop_ || evict_ || !cancelled_.empty() || !waiting_.empty() || !running_.empty();
    });
    evicted = evict_;
    dropped = TakeDropped();
    Admit();
    num_running_ = static_cast<int32_t>(running_.size());
    if (stop_) return false;
    evict_ = false;
    num_dropped_ = static_cast<int32_t>(dropped.size());
  }
  const absl::Status reason =
      evicted ? absl::UnavailableError("the server shut down before the request was done")
              : absl::CancelledError("the request was cancelled");
  for (const std::unique_ptr<Sequence>& sequence : dropped) sequence->Fail(reason);
  return true;
}

/// Takes cancelled requests (all of them when evicting) out of the queue and the running ones.
Engine::Sequences Engine::TakeDropped() {
  Sequences dropped;
  const auto take = [&](auto& sequences) {
    const auto drops = [&](const std::unique_ptr<Sequence>& sequence) {
      return evict_ || std::ranges::count(cancelled_, sequence->id()) > 0;
    };
    for (std::unique_ptr<Sequence>& sequence : sequences) {
      if (drops(sequence)) dropped.push_back(std::move(sequence));
    }
    std::erase(sequences, nullptr);
  };
  if (evict_ || !cancelled_.empty()) {
    take(waiting_);
    take(running_);
    cancelled_.clear();
  }
  return dropped;
}

void Engine::Admit() {
  while (!waiting_.empty()) {
    Slot slot = slots_->Acquire();
    if (!slot) return;
    running_.push_back(std::move(waiting_.front()));
    waiting_.pop_front();
    running_.back()->Start(std::move(slot));
  }
}

/// A row for every sequence that decodes; the prompts being read share the budget, and what a short
/// one leaves goes to those behind it.
std::vector<StepSegment> Engine::ComposeStep() {
  std::vector<StepSegment> segments;
  stepped_.clear();
  int64_t budget = options_.step_tokens;
  int64_t readers = std::ranges::count_if(running_, [](const auto& s) { return s->Reading(); });
  for (const std::unique_ptr<Sequence>& sequence : running_) {
    std::span<const int32_t> tokens = sequence->Pending();
    if (sequence->Reading()) {
      const auto pending = static_cast<int64_t>(tokens.size());
      const int64_t share = std::min(pending, (budget + readers - 1) / readers);
      --readers;
      budget -= share;
      if (share == 0) continue;
      tokens = tokens.first(static_cast<size_t>(share));
    }
    const int32_t logits = sequence->LogitsWanted(static_cast<int32_t>(tokens.size()));
    segments.push_back({sequence->slot(), sequence->position(), tokens, logits});
    stepped_.push_back(sequence.get());
  }
  return segments;
}

void Engine::Step() {
  const std::vector<StepSegment> segments = ComposeStep();
  absl::StatusOr<std::span<const float>> logits = model_->Step(segments);
  const int64_t vocab_size = model_->config().vocab_size;
  std::vector<const Sequence*> finished;
  size_t offset = 0;
  for (size_t i = 0; i < segments.size(); ++i) {
    bool alive = false;
    if (logits.ok()) {
      const auto size = static_cast<size_t>(segments[i].logits * vocab_size);
      const auto rows = static_cast<int32_t>(segments[i].tokens.size());
      alive = stepped_[i]->Advance(rows, logits->subspan(offset, size), vocab_size);
      offset += size;
    } else {
      stepped_[i]->Fail(logits.status());
    }
    if (!alive) finished.push_back(stepped_[i]);
  }
  std::erase_if(running_, [&](const std::unique_ptr<Sequence>& sequence) {
    return std::ranges::count(finished, sequence.get()) > 0;
  });
}

}  // namespace fmaserver
