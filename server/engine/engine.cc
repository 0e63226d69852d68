#include "server/engine/engine.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/refusal.h"
#include "base/text.h"
#include "server/engine/archive_need.h"
#include "server/engine/score_sequence.h"
#include "server/engine/step_plan.h"
#include "server/engine/validate.h"

namespace fmaserver::engine {
namespace {

absl::StatusOr<std::shared_ptr<ArchivePool>> MakeArchives(const Model& model,
                                                          const ArchiveOptions& options) {
  if (!model.archive_layout() || options.bytes == 0) return nullptr;
  return ArchivePool::Create(model.shared_backend(), model.archive_layout(), options);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Engine>> Engine::Create(
    std::unique_ptr<Model> model, std::shared_ptr<const model::Tokenizer> tokenizer,
    const EngineOptions& options, std::shared_ptr<EngineObserver> observer) {
  if (absl::Status status = Validate(options); !status.ok()) return status;
  if (model->options().max_rows < MaxRows(options)) {
    return Refusal("max_rows of the model", model->options().max_rows,
                   Concat(MaxRows(options), " or more, which slots and step_tokens need"));
  }
  const absl::StatusOr<Parking> parking =
      Parking::Create(model->config().attention, model->config().num_layers, model->layout().type,
                      options.parked_type);
  if (!parking.ok()) return parking.status();
  absl::StatusOr<std::unique_ptr<SlotPool>> slots =
      SlotPool::Create(model->backend(), model->layout(), options.num_slots);
  if (!slots.ok()) return slots.status();
  auto archives = MakeArchives(*model, options.archive);
  if (!archives.ok()) return archives.status();
  if (observer == nullptr) observer = std::make_shared<EngineObserver>();
  return std::unique_ptr<Engine>(new Engine(std::move(model), std::move(tokenizer), options,
                                            *parking, *std::move(slots), *std::move(archives),
                                            std::move(observer)));
}

Engine::Engine(std::unique_ptr<Model> model, std::shared_ptr<const model::Tokenizer> tokenizer,
               const EngineOptions& options, Parking parking, std::unique_ptr<SlotPool> slots,
               std::shared_ptr<ArchivePool> archives, std::shared_ptr<EngineObserver> observer)
    : model_(std::move(model)),
      tokenizer_(std::move(tokenizer)),
      options_(options),
      parking_(parking),
      observer_(std::move(observer)),
      queue_(options.num_slots, options.max_queue),
      archives_(std::move(archives)),
      cache_(std::make_shared<PrefixCache>(options.prefix_cache_bytes)),
      slots_(std::move(slots)),
      context_{.config = model_->config(),
               .parking = &parking_,
               .tokenizer = tokenizer_.get(),
               .cache = options.prefix_cache_bytes > 0 ? cache_.get() : nullptr,
               .observer = observer_.get()},
      runner_(*model_),
      last_step_(Clock::now()) {
  if (archives_ != nullptr) {
    archives_->AddReclaimer(
        [cache = std::weak_ptr(cache_)](const std::string& tenant, auto enough) {
          if (const auto held = cache.lock()) {
            held->DropArchives(tenant.empty() ? "" : PrefixCache::TenantScope(tenant), enough);
          }
        });
  }
  thread_ = std::thread([this] { Run(); });
}

Engine::~Engine() {
  Drain(absl::ZeroDuration());
  queue_.Stop();
  thread_.join();
}

absl::StatusOr<RequestId> Engine::Submit(GenerateRequest request,
                                         std::shared_ptr<GenerateSink> sink) {
  auto valid = Validate(std::move(request), model_->config());
  if (!valid.ok()) return Refuse(valid.status());
  auto archive = ReserveArchive(**valid);
  if (!archive.ok()) return Refuse(archive.status(), Rejection::kArchiveFull);
  auto shared = std::make_shared<const ValidGenerateRequest>(*std::move(valid));
  return Enqueue(std::make_unique<GenerateSequence>(
      queue_.NextId(), std::move(shared), std::move(sink), context_, *std::move(archive)));
}

absl::StatusOr<RequestId> Engine::Submit(ScoreRequest request, std::shared_ptr<ScoreSink> sink) {
  auto valid = Validate(std::move(request), model_->config());
  if (!valid.ok()) return Refuse(valid.status());
  auto archive = ReserveArchive(**valid);
  if (!archive.ok()) return Refuse(archive.status(), Rejection::kArchiveFull);
  return Enqueue(std::make_unique<ScoreSequence>(queue_.NextId(), *std::move(valid),
                                                 std::move(sink), *observer_, *std::move(archive)));
}

absl::StatusOr<SequenceArchive> Engine::ReserveArchive(const ScoreRequest& request) {
  if (request.no_archive) return SequenceArchive();
  return ReserveArchive(request.tenant,
                        model_->archive_layout().Groups(std::ssize(request.tokens)));
}

absl::StatusOr<SequenceArchive> Engine::ReserveArchive(const GenerateRequest& request) {
  const kernels::ArchiveLayout& layout = model_->archive_layout();
  if (!Opens(request, layout)) return SequenceArchive();
  const int64_t groups = GroupsAtEnd(request, model_->config(), layout);
  if (groups > kMaxArchiveChunks) {
    return Refusal("archive", Words{Concat(groups, " groups")},
                   Concat("up to ", kMaxArchiveChunks,
                          "; a smaller max_tokens or a shorter prompt needs less, no_archive none"),
                   absl::StatusCode::kResourceExhausted);
  }
  const int64_t held = std::ssize(request.state.archive);
  return ReserveArchive(request.tenant, ArchiveNeed(request, model_->config(), layout, held));
}

absl::StatusOr<SequenceArchive> Engine::ReserveArchive(const std::string& tenant, int64_t groups) {
  if (archives_ == nullptr) return SequenceArchive();
  auto reserve = archives_->Reserve(tenant, groups);
  if (!reserve.ok()) return reserve.status();
  return SequenceArchive(model_->archive_layout(), *std::move(reserve));
}

absl::StatusOr<RequestId> Engine::Enqueue(std::unique_ptr<Sequence> sequence) {
  const RequestId id = sequence->id();
  absl::Status status = queue_.Push(std::move(sequence));
  if (!status.ok()) return Refuse(std::move(status));
  return id;
}

absl::StatusOr<RequestId> Engine::Refuse(absl::Status status) {
  const Rejection why = WhyRejected(status);
  return Refuse(std::move(status), why);
}

absl::StatusOr<RequestId> Engine::Refuse(absl::Status status, Rejection why) {
  observer_->OnRejected(why);
  return status;
}

absl::Status Engine::CheckAdmission() {
  absl::Status refusal = queue_.CheckAdmission();
  if (!refusal.ok()) observer_->OnRejected(WhyRejected(refusal));
  return refusal;
}

LoadReport Engine::Load() const {
  const RequestQueue::Counts counts = queue_.Count();
  return {.running = counts.running,
          .waiting = counts.waiting,
          .prompt_tokens = prompt_tokens_ + counts.prompt_tokens,
          .cache_bytes = cache_->bytes(),
          .draining = counts.draining,
          .failed = device_failed_,
          .seconds_since_step = SecondsSince(last_step_)};
}

void Engine::Run() {
  while (TakeOrders()) {
    Admit();
    DropStalled();
    Step();
  }
}

/// Waits for something to do, and ends the requests that other threads want ended. False: stop.
bool Engine::TakeOrders() {
  PublishLoad();
  RequestQueue::Orders orders = queue_.Await(std::ssize(running_), [this] {
    return std::ranges::any_of(running_, [](const Running& r) { return r.sequence->KeepsUp(); });
  });
  const bool stop = orders.stop;
  if (orders.evict || !orders.cancelled.empty()) End(std::move(orders));
  return !stop;
}

void Engine::End(RequestQueue::Orders orders) {
  for (Running& running : running_) {
    const RequestId id = running.sequence->id();
    if (!orders.evict && std::ranges::count(orders.cancelled, id) == 0) continue;
    orders.dropped.push_back(std::move(running.sequence));
  }
  std::erase_if(running_, [](const Running& running) { return running.sequence == nullptr; });
  // Before the sinks are told, so that a client that hears of the end finds the slot free.
  queue_.SetRunning(std::ssize(running_));
  for (const std::unique_ptr<Sequence>& sequence : orders.dropped) {
    if (orders.evict) {
      sequence->Interrupt(
          absl::UnavailableError("the server shut down before the request was done"));
    } else {
      sequence->Fail(absl::CancelledError("the request was cancelled"));
    }
  }
}

/// Starts as many waiting sequences as there are free slots, the most urgent first.
void Engine::Admit() {
  while (slots_->num_free() > 0) {
    std::unique_ptr<Sequence> next = queue_.Pop();
    if (next == nullptr) return;
    Start(std::move(next));
  }
}

void Engine::Start(std::unique_ptr<Sequence> sequence) {
  const bool lives = sequence->Start(slots_->Acquire());
  StartForks(*sequence);
  if (lives) running_.push_back({std::move(sequence)});
}

/// Forks start at once while slots are free, from a copy of their parent's slot; the others wait in
/// the queue with its state.
void Engine::StartForks(Sequence& parent) {
  std::optional<absl::StatusOr<State>> state;
  const int32_t forks = parent.TakeForks();
  for (int32_t index = 1; index <= forks; ++index) {
    if (slots_->num_free() > 0 && queue_.IsNext(parent)) {
      StartFork(parent, index);
      continue;
    }
    if (!state) state = parent.CurrentState();
    std::unique_ptr<Sequence> fork =
        parent.MakeFork({.index = index, .state = state->ok() ? **state : State()});
    if (state->ok()) {
      queue_.Return(std::move(fork));
    } else {
      fork->Fail(state->status());
    }
  }
}

void Engine::StartFork(const Sequence& parent, int32_t index) {
  std::unique_ptr<Sequence> fork = parent.MakeFork({.index = index});
  Slot slot = slots_->Acquire();
  const absl::Status status =
      parent.position() > 0 ? slot.CopyFrom(parent.slot()) : absl::OkStatus();
  if (!status.ok()) return fork->Fail(status);
  if (fork->Start(std::move(slot))) running_.push_back({std::move(fork)});
}

/// Ends requests whose readers have been behind for too long: they would keep their slots for ever.
void Engine::DropStalled() {
  const Clock::time_point now = Clock::now();
  Ended stalled;
  for (Running& running : running_) {
    Sequence& sequence = *running.sequence;
    const double seconds = running.reader.Check(sequence.KeepsUp(), now);
    if (seconds <= options_.max_stall_seconds) continue;
    sequence.Fail(absl::ResourceExhaustedError(
        absl::StrCat("the client reads too slowly: it has been behind for ",
                     options_.max_stall_seconds, " seconds")));
    stalled.push_back(&sequence);
  }
  Retire(stalled);
}

void Engine::Step() {
  const Clock::time_point begin = Clock::now();
  const std::vector<StepRunner::Feed> feeds = Plan();
  if (feeds.empty()) return;
  StepReport report;
  for (const StepRunner::Feed& feed : feeds) {
    (feed.sequence->Reading() ? report.prompt_tokens : report.decode_rows) += feed.rows;
  }
  const auto outcomes = runner_.Run(feeds);
  Retire(outcomes.ok() ? Advance(feeds, *outcomes) : Fail(feeds, outcomes.status()));
  const Clock::time_point end = Clock::now();
  last_step_ = end;
  report.seconds = SecondsBetween(begin, end);
  observer_->OnStep(report);
}

std::vector<StepRunner::Feed> Engine::Plan() const {
  std::vector<Sequence*> sequences;
  std::vector<ReadySequence> ready;
  for (const Running& running : running_) {
    Sequence& sequence = *running.sequence;
    if (!sequence.KeepsUp()) continue;
    sequences.push_back(&sequence);
    ready.push_back({.priority = sequence.priority(),
                     .reading = sequence.Reading(),
                     .pending = std::ssize(sequence.Pending())});
  }
  std::vector<StepRunner::Feed> feeds;
  for (const PlannedRows& planned : Compose(ready, options_.step_tokens)) {
    feeds.push_back({sequences[planned.sequence], planned.rows});
  }
  return feeds;
}

/// Hands every sequence the outcome of its rows. Returns the sequences that are over.
Engine::Ended Engine::Advance(Feeds feeds, std::span<const StepOutcome> outcomes) {
  Ended finished;
  for (size_t i = 0; i < feeds.size(); ++i) {
    Sequence& sequence = *feeds[i].sequence;
    const absl::Status archive = sequence.archive().Check();
    if (!archive.ok()) {
      sequence.Fail(archive);
      cache_->DropArchives("", [] { return false; });  // no later prompt is to meet what is lost
    }
    const bool lives = archive.ok() && sequence.Advance(feeds[i].rows, outcomes[i]);
    StartForks(sequence);
    if (!lives) finished.push_back(&sequence);
  }
  return finished;
}

Engine::Ended Engine::Fail(Feeds feeds, const absl::Status& status) {
  if (absl::IsUnavailable(status)) device_failed_ = true;
  Ended finished;
  for (const StepRunner::Feed& feed : feeds) {
    feed.sequence->Fail(status);
    finished.push_back(feed.sequence);
  }
  return finished;
}

void Engine::Retire(const Ended& finished) {
  if (finished.empty()) return;
  const Clock::time_point now = Clock::now();
  for (const Sequence* sequence : finished) {
    queue_.AddServiceTime(SecondsBetween(sequence->times().started(), now));
  }
  std::erase_if(running_, [&](const Running& running) {
    return std::ranges::count(finished, running.sequence.get()) > 0;
  });
}

void Engine::PublishLoad() {
  int64_t prompt_tokens = 0;
  for (const Running& running : running_) prompt_tokens += running.sequence->PromptLeft();
  prompt_tokens_ = prompt_tokens;
  queue_.SetRunning(std::ssize(running_));
  observer_->OnLoad(Load());
}

}  // namespace fmaserver::engine
