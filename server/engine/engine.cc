#include "server/engine/engine.h"

#include <algorithm>
#include <random>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "server/engine/generate_sequence.h"
#include "server/engine/score_sequence.h"
#include "server/engine/validate.h"

namespace fmaserver::engine {
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
  if (options.prefix_cache_bytes < 0 || !(options.max_stall_seconds > 0)) {
    status.Update(absl::InvalidArgumentError(absl::StrCat(
        "prefix_cache_bytes is ", options.prefix_cache_bytes, " and max_stall_seconds ",
        options.max_stall_seconds, "; allowed: 0 or more, and above 0")));
  }
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

absl::StatusOr<std::unique_ptr<Engine>> Engine::Create(
    std::unique_ptr<Model> model, std::shared_ptr<const model::Tokenizer> tokenizer,
    EngineOptions options, std::shared_ptr<EngineObserver> observer) {
  if (absl::Status status = ValidateOptions(options, *model); !status.ok()) return status;
  absl::StatusOr<std::unique_ptr<SlotPool>> slots =
      SlotPool::Create(model->backend(), model->layout(), options.num_slots);
  if (!slots.ok()) return slots.status();
  if (observer == nullptr) observer = std::make_shared<EngineObserver>();
  return std::unique_ptr<Engine>(new Engine(std::move(model), std::move(tokenizer), options,
                                            *std::move(slots), std::move(observer)));
}

Engine::Engine(std::unique_ptr<Model> model, std::shared_ptr<const model::Tokenizer> tokenizer,
               EngineOptions options, std::unique_ptr<SlotPool> slots,
               std::shared_ptr<EngineObserver> observer)
    : model_(std::move(model)),
      tokenizer_(std::move(tokenizer)),
      options_(options),
      observer_(std::move(observer)),
      slots_(std::move(slots)),
      cache_(options.prefix_cache_bytes),
      context_{.config = model_->config(),
               .tokenizer = tokenizer_.get(),
               .cache = options.prefix_cache_bytes > 0 ? &cache_ : nullptr,
               .observer = observer_.get()},
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
  if (absl::Status status = Validate(request, model_->config()); !status.ok()) {
    return Refuse(std::move(status));
  }
  const uint64_t seed = request.sampling.seed.value_or(RandomSeed());
  auto shared = std::make_shared<const GenerateRequest>(std::move(request));
  return Enqueue(std::make_unique<GenerateSequence>(NextId(), std::move(shared), seed,
                                                    std::move(sink), context_));
}

absl::StatusOr<RequestId> Engine::Submit(ScoreRequest request, std::shared_ptr<ScoreSink> sink) {
  if (absl::Status status = Validate(request, model_->config()); !status.ok()) {
    return Refuse(std::move(status));
  }
  return Enqueue(
      std::make_unique<ScoreSequence>(NextId(), std::move(request), std::move(sink), *observer_));
}

absl::StatusOr<RequestId> Engine::Refuse(absl::Status status) {
  observer_->OnRejected(status.code());
  return status;
}

RequestId Engine::NextId() {
  std::lock_guard lock(mutex_);
  return ++last_id_;
}

absl::StatusOr<RequestId> Engine::Enqueue(std::unique_ptr<Sequence> sequence) {
  const RequestId id = sequence->id();
  absl::Status refusal;
  {
    std::lock_guard lock(mutex_);
    const int64_t free = options_.num_slots - num_running_;
    if (draining_) {
      refusal = absl::UnavailableError("the server is shutting down; try another one");
    } else if (static_cast<int64_t>(waiting_.size()) >= free + options_.max_queue) {
      refusal = QueueFull();
    } else {
      waiting_.emplace(std::pair(sequence->priority(), id), std::move(sequence));
    }
  }
  if (!refusal.ok()) return Refuse(std::move(refusal));
  work_.notify_one();
  return id;
}

/// Needs mutex_. The hint: when the queue will have moved up by one, if all goes on as of late.
absl::Status Engine::QueueFull() const {
  constexpr double kLeastSeconds = 0.1;
  constexpr double kMostSeconds = 60;
  absl::Status status = absl::ResourceExhaustedError(
      absl::StrCat("all ", options_.num_slots, " slots are taken and ", options_.max_queue,
                   " requests wait already; try again later"));
  const double seconds = mean_service_seconds_ / options_.num_slots;
  status.SetPayload(kRetryAfterSeconds,
                    absl::Cord(absl::StrCat(std::clamp(seconds, kLeastSeconds, kMostSeconds))));
  return status;
}

void Engine::Cancel(RequestId id) {
  {
    std::lock_guard lock(mutex_);
    cancelled_.push_back(id);
  }
  work_.notify_one();
}

void Engine::Wake() {
  // Whoever is about to wait sees the room, or waits already and is woken.
  { const std::lock_guard lock(mutex_); }
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
    DropStalled();
    Step();
  }
}

/// Waits for something to do, drops what was cancelled, admits what waits. False: stop.
bool Engine::CollectWork() {
  Sequences dropped;
  Sequences admitted;
  bool evicted = false;
  {
    std::unique_lock lock(mutex_);
    PublishLoad();
    WaitForWork(lock);
    evicted = evict_;
    dropped = TakeDropped();
    admitted = TakeAdmitted();
    num_running_ = static_cast<int32_t>(running_.size() + admitted.size());
    if (stop_) return false;
    evict_ = false;
    num_dropped_ = static_cast<int32_t>(dropped.size());
  }
  for (const std::unique_ptr<Sequence>& sequence : dropped) {
    if (evicted) {
      sequence->Interrupt(
          absl::UnavailableError("the server shut down before the request was done"));
    } else {
      sequence->Fail(absl::CancelledError("the request was cancelled"));
    }
  }
  dropped.clear();
  num_admitted_ = static_cast<int32_t>(admitted.size());
  for (std::unique_ptr<Sequence>& sequence : admitted) {
    --num_admitted_;
    Start(std::move(sequence));
  }
  return true;
}

/// Needs mutex_.
void Engine::PublishLoad() {
  num_running_ = static_cast<int32_t>(running_.size());
  num_dropped_ = 0;
  if (running_.empty() && waiting_.empty()) idle_.notify_all();
  observer_->OnLoad({.running = num_running_,
                     .waiting = static_cast<int32_t>(waiting_.size()),
                     .cache_bytes = cache_.bytes()});
}

void Engine::WaitForWork(std::unique_lock<std::mutex>& lock) {
  const auto has_room = [](const auto& sequence) { return sequence->HasRoom(); };
  const auto has_work = [&] {
    return stop_ || evict_ || !cancelled_.empty() ||
           (!waiting_.empty() && slots_->num_free() > 0) || std::ranges::any_of(running_, has_room);
  };
  // Readers that are behind must be looked after now and then.
  constexpr std::chrono::seconds kStallCheck(1);
  if (running_.empty()) {
    work_.wait(lock, has_work);
  } else {
    work_.wait_for(lock, kStallCheck, has_work);
  }
}

/// Takes cancelled requests (all of them when evicting) out of the queue and the running ones.
Engine::Sequences Engine::TakeDropped() {
  Sequences dropped;
  if (!evict_ && cancelled_.empty()) return dropped;
  const auto drops = [&](const Sequence& sequence) {
    return evict_ || std::ranges::count(cancelled_, sequence.id()) > 0;
  };
  for (auto& [key, sequence] : waiting_) {
    if (drops(*sequence)) dropped.push_back(std::move(sequence));
  }
  std::erase_if(waiting_, [](const auto& item) { return item.second == nullptr; });
  for (std::unique_ptr<Sequence>& sequence : running_) {
    if (drops(*sequence)) dropped.push_back(std::move(sequence));
  }
  std::erase(running_, nullptr);
  cancelled_.clear();
  return dropped;
}

/// As many of those that wait as there are free slots, the most urgent first.
Engine::Sequences Engine::TakeAdmitted() {
  Sequences admitted;
  while (!waiting_.empty() && static_cast<int32_t>(admitted.size()) < slots_->num_free()) {
    admitted.push_back(std::move(waiting_.begin()->second));
    waiting_.erase(waiting_.begin());
  }
  return admitted;
}

void Engine::Start(std::unique_ptr<Sequence> sequence) {
  const bool lives = sequence->Start(slots_->Acquire());
  StartForks(*sequence);
  if (lives) running_.push_back(std::move(sequence));
}

/// Forks start at once where slots are free, from their parent's; the others wait in the queue with
/// a copy of its state.
void Engine::StartForks(Sequence& parent) {
  std::optional<absl::StatusOr<SnapshotPtr>> state;
  for (std::unique_ptr<Sequence>& fork : parent.TakeForks()) {
    if (MayStart(*fork)) {
      if (fork->StartFrom(parent, slots_->Acquire())) running_.push_back(std::move(fork));
      continue;
    }
    if (!state) state = parent.State();
    if (!state->ok()) {
      fork->Fail(state->status());
      continue;
    }
    fork->KeepForStart(**state);
    const std::lock_guard lock(mutex_);
    waiting_.emplace(std::pair(fork->priority(), fork->id()), std::move(fork));
  }
}

/// Whether a slot is free for a new fork and nobody waits who comes first.
bool Engine::MayStart(const Sequence& fork) const {
  if (slots_->num_free() <= num_admitted_) return false;
  const std::lock_guard lock(mutex_);
  return waiting_.empty() || std::pair(fork.priority(), fork.id()) <= waiting_.begin()->first;
}

/// Ends requests whose readers stay behind: they would keep their slots for ever.
void Engine::DropStalled() {
  const Clock::time_point now = Clock::now();
  std::vector<const Sequence*> stalled;
  for (const std::unique_ptr<Sequence>& sequence : running_) {
    if (sequence->HasRoom()) {
      sequence->paused_since.reset();
    } else if (!sequence->paused_since) {
      sequence->paused_since = now;
    } else if (SecondsBetween(*sequence->paused_since, now) > options_.max_stall_seconds) {
      sequence->Fail(absl::ResourceExhaustedError(
          absl::StrCat("the client reads too slowly: it has been behind for ",
                       options_.max_stall_seconds, " seconds")));
      stalled.push_back(sequence.get());
    }
  }
  if (!stalled.empty()) Retire(stalled);
}

/// Sequences that can take part in a step, the most urgent first.
std::vector<Sequence*> Engine::ReadyByPriority() const {
  std::vector<Sequence*> ready;
  for (const std::unique_ptr<Sequence>& sequence : running_) {
    if (sequence->HasRoom()) ready.push_back(sequence.get());
  }
  std::ranges::stable_sort(ready, {}, [](const Sequence* s) { return s->priority(); });
  return ready;
}

/// A row for every sequence that decodes; the prompts of one priority share what the more urgent
/// ones leave of the budget, and what a short one leaves goes to those behind it.
std::vector<StepSegment> Engine::ComposeStep() {
  const std::vector<Sequence*> ready = ReadyByPriority();
  std::map<int32_t, int64_t> readers;  // by priority
  for (const Sequence* sequence : ready) readers[sequence->priority()] += sequence->Reading();
  std::vector<StepSegment> segments;
  stepped_.clear();
  int64_t budget = options_.step_tokens;
  for (Sequence* sequence : ready) {
    std::span<const int32_t> tokens = sequence->Pending();
    if (sequence->Reading()) {
      int64_t& rivals = readers[sequence->priority()];
      const int64_t share = std::min(std::ssize(tokens), (budget + rivals - 1) / rivals);
      --rivals;
      budget -= share;
      if (share == 0) continue;
      tokens = tokens.first(static_cast<size_t>(share));
    }
    const int32_t logits = sequence->LogitsWanted(static_cast<int32_t>(tokens.size()));
    segments.push_back({sequence->slot().data(), sequence->position(), tokens, logits});
    stepped_.push_back(sequence);
  }
  return segments;
}

void Engine::Step() {
  const Clock::time_point begin = Clock::now();
  const std::vector<StepSegment> segments = ComposeStep();
  if (segments.empty()) return;
  StepReport report;
  for (size_t i = 0; i < segments.size(); ++i) {
    const auto rows = static_cast<int32_t>(segments[i].tokens.size());
    (stepped_[i]->Reading() ? report.prompt_tokens : report.decode_rows) += rows;
  }
  const std::vector<kernels::RowSampling> choices = Choices(segments);
  sampled_.assign(choices.size(), {});
  const auto logits = model_->Run(segments, choices, sampled_);
  const std::vector<const Sequence*> finished = Advance(segments, logits);
  if (!finished.empty()) Retire(finished);
  report.seconds = SecondsBetween(begin, Clock::now());
  observer_->OnStep(report);
}

/// How the backend is to choose the tokens of the whole step; none if it cannot, or if any sequence
/// wants the logits themselves.
std::vector<kernels::RowSampling> Engine::Choices(std::span<const StepSegment> segments) const {
  if (model_->backend().sampler() == nullptr) return {};
  std::vector<kernels::RowSampling> choices;
  for (size_t i = 0; i < segments.size(); ++i) {
    if (segments[i].logits == 0) continue;
    std::optional<kernels::RowSampling> choice = stepped_[i]->Choice();
    if (!choice) return {};
    choices.push_back(*choice);
  }
  return choices;
}

/// Hands every sequence what the step made of its rows. Returns those that are over.
std::vector<const Sequence*> Engine::Advance(std::span<const StepSegment> segments,
                                             const absl::StatusOr<kernels::Matrix>& logits) {
  absl::StatusOr<std::span<const float>> copied = std::span<const float>();
  // Where logits cannot be chosen from, each sequence is told by its own.
  const auto chosen = [](const kernels::SampledRow& row) { return row.token != kernels::kNoToken; };
  const bool on_device = !sampled_.empty() && std::ranges::all_of(sampled_, chosen);
  if (!logits.ok()) {
    copied = logits.status();
    if (absl::IsUnavailable(logits.status())) device_failed_ = true;
  } else if (!on_device) {
    copied = model_->CopyLogits(*logits);
  }
  std::vector<const Sequence*> finished;
  int64_t row = 0;
  for (size_t i = 0; i < segments.size(); ++i) {
    bool alive = false;
    if (copied.ok()) {
      StepOutcome outcome;
      outcome.vocab_size = model_->config().vocab_size;
      const int64_t wanted = segments[i].logits;
      if (!on_device) {
        outcome.logits = copied->subspan(static_cast<size_t>(row * outcome.vocab_size),
                                         static_cast<size_t>(wanted * outcome.vocab_size));
      } else if (wanted > 0) {
        outcome.chosen = &sampled_[row];
      }
      row += wanted;
      alive = stepped_[i]->Advance(static_cast<int32_t>(segments[i].tokens.size()), outcome);
      StartForks(*stepped_[i]);
    } else {
      stepped_[i]->Fail(copied.status());
    }
    if (!alive) finished.push_back(stepped_[i]);
  }
  return finished;
}

void Engine::Retire(const std::vector<const Sequence*>& finished) {
  constexpr double kNewestWeight = 0.1;
  const Clock::time_point now = Clock::now();
  {
    const std::lock_guard lock(mutex_);
    for (const Sequence* sequence : finished) {
      const double seconds = SecondsBetween(sequence->started(), now);
      mean_service_seconds_ += kNewestWeight * (seconds - mean_service_seconds_);
    }
  }
  std::erase_if(running_, [&](const std::unique_ptr<Sequence>& sequence) {
    return std::ranges::count(finished, sequence.get()) > 0;
  });
}

}  // namespace fmaserver::engine
