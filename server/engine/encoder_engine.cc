#include "server/engine/encoder_engine.h"

#include <algorithm>
#include <iterator>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/refusal.h"
#include "server/engine/sampler.h"
#include "server/engine/validate.h"

namespace fmaserver::engine {
namespace {

int64_t BytesForOne(const Encoder& encoder, int64_t tokens) {
  return encoder.BytesFor({&tokens, 1});
}

/// The longest text of which `bytes` have room, up to what the model has learned; 0: none.
int64_t LongestIn(const Encoder& encoder, int64_t bytes) {
  constexpr int64_t kMost = std::numeric_limits<int32_t>::max();
  int64_t fits = 0;
  int64_t beyond = std::min(encoder.config().MaxSequenceLength(), kMost) + 1;
  while (beyond - fits > 1) {
    const int64_t middle = fits + (beyond - fits) / 2;
    (BytesForOne(encoder, middle) <= bytes ? fits : beyond) = middle;
  }
  return fits;
}

/// Of the lane for short texts.
int64_t BatchBytes(const Encoder& encoder) {
  const int64_t most = encoder.config().MaxSequenceLength();
  return BytesForOne(encoder, std::min(most, EncoderEngine::kBatchTokens));
}

std::vector<int32_t> MasksOf(std::span<const int32_t> text, int32_t mask) {
  std::vector<int32_t> places;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == mask) places.push_back(static_cast<int32_t>(i));
  }
  return places;
}

}  // namespace

absl::StatusOr<std::unique_ptr<EncoderEngine>> EncoderEngine::Create(
    std::unique_ptr<Encoder> encoder, std::shared_ptr<const model::Tokenizer> tokenizer,
    const EngineOptions& options, std::shared_ptr<EngineObserver> observer) {
  if (absl::Status status = engine::Validate(options); !status.ok()) return status;
  const int64_t least = 2 * BatchBytes(*encoder);
  if (options.encoder_bytes < least) {
    return Refusal("encoder_bytes", options.encoder_bytes,
                   Concat(least, " or more, which ", kBatchTokens, " tokens need twice"));
  }
  if (observer == nullptr) observer = std::make_shared<EngineObserver>();
  return std::unique_ptr<EncoderEngine>(
      new EncoderEngine(std::move(encoder), std::move(tokenizer), options, std::move(observer)));
}

EncoderEngine::EncoderEngine(std::unique_ptr<Encoder> encoder,
                             std::shared_ptr<const model::Tokenizer> tokenizer,
                             const EngineOptions& options, std::shared_ptr<EngineObserver> observer)
    : encoder_(std::move(encoder)),
      tokenizer_(std::move(tokenizer)),
      options_(options),
      observer_(std::move(observer)),
      batch_bytes_(BatchBytes(*encoder_)),
      max_tokens_(LongestIn(*encoder_, options.encoder_bytes - batch_bytes_)),
      queue_(options.num_slots, options.max_queue),
      last_step_(Clock::now()) {
  thread_ = std::thread([this] { Run(); });
}

EncoderEngine::~EncoderEngine() {
  Drain(absl::ZeroDuration());
  queue_.Stop();
  thread_.join();
}

absl::Status EncoderEngine::Validate(const EncodeRequest& request) const {
  const size_t count = request.texts.size();
  if (count < 1 || count > kMaxTexts) {
    return Refusal("inputs", Words{Concat(count, " texts")}, FromTo<size_t>(1, kMaxTexts));
  }
  for (size_t i = 0; i < count; ++i) {
    const std::string field = Concat("inputs[", i, "]");
    const int64_t length = std::ssize(request.texts[i]);
    absl::Status status = ValidateTokens(field, request.texts[i], config(), length);
    if (!status.ok()) return status;
    if (length > max_tokens_) {
      return Refusal(field, Words{Concat(length, " tokens")},
                     Concat("up to ", max_tokens_, ", for which --encoder-memory has room"));
    }
  }
  return request.candidates == 0 ? absl::OkStatus() : ValidateMasks(request);
}

absl::Status EncoderEngine::ValidateMasks(const EncodeRequest& request) const {
  if (request.candidates < 0 || request.candidates > kMaxTopLogprobs) {
    return Refusal("candidates", request.candidates, FromTo(1, kMaxTopLogprobs));
  }
  if (!config().mask_token_id.has_value()) {
    return Refusal("mask_token_id of the model", Words{"missing"}, "models that have one",
                   absl::StatusCode::kFailedPrecondition);
  }
  size_t masks = 0;
  for (size_t i = 0; i < request.texts.size(); ++i) {
    const size_t found = MasksOf(request.texts[i], *config().mask_token_id).size();
    if (found == 0) {
      return Refusal(Concat("inputs[", i, "]"), Words{"a text without a mask"},
                     "texts with one mask or more");
    }
    masks += found;
  }
  if (masks <= kMaxMasks) return absl::OkStatus();
  return Refusal("masks", Words{Concat(masks, " in all texts")}, FromTo<size_t>(1, kMaxMasks));
}

absl::StatusOr<RequestId> EncoderEngine::Submit(EncodeRequest request,
                                                std::shared_ptr<EncodeSink> sink) {
  if (absl::Status status = Validate(request); !status.ok()) return Refuse(std::move(status));
  const RequestId id = queue_.NextId();
  absl::Status status =
      queue_.Push(std::make_unique<EncodeJob>(id, std::move(request), std::move(sink), *observer_));
  if (!status.ok()) return Refuse(std::move(status));
  return id;
}

absl::StatusOr<RequestId> EncoderEngine::Refuse(absl::Status status) {
  observer_->OnRejected(WhyRejected(status));
  return status;
}

absl::Status EncoderEngine::CheckAdmission() {
  absl::Status refusal = queue_.CheckAdmission();
  if (!refusal.ok()) observer_->OnRejected(WhyRejected(refusal));
  return refusal;
}

LoadReport EncoderEngine::Load() const {
  const EncodeQueue::Counts counts = queue_.Count();
  return {.running = counts.running,
          .waiting = counts.waiting,
          .prompt_tokens = prompt_tokens_ + counts.prompt_tokens,
          .draining = counts.draining,
          .failed = device_failed_,
          .seconds_since_step = SecondsSince(last_step_)};
}

void EncoderEngine::Run() {
  while (TakeOrders()) {
    Admit();
    DropStalled();
    ReadOn(kShort);
    ReadOn(kLong);
  }
}

/// Waits for something to do, and ends the requests that other threads want ended. False: stop.
bool EncoderEngine::TakeOrders() {
  PublishLoad();
  EncodeQueue::Orders orders = queue_.Await(static_cast<int32_t>(running_.size()), [this] {
    const auto reads = [](const Lane& lane) { return lane.encoding.has_value(); };
    const auto begins = [](const Running& r) { return r.job->HasNext() && r.job->KeepsUp(); };
    return std::ranges::any_of(lanes_, reads) || std::ranges::any_of(running_, begins);
  });
  const bool stop = orders.stop;
  if (orders.evict || !orders.cancelled.empty()) End(std::move(orders));
  return !stop;
}

void EncoderEngine::End(EncodeQueue::Orders orders) {
  std::vector<EncodeJob*> ended;
  for (Running& running : running_) {
    const RequestId id = running.job->id();
    if (!orders.evict && std::ranges::count(orders.cancelled, id) == 0) continue;
    ended.push_back(running.job.get());
    orders.dropped.push_back(std::move(running.job));
  }
  Retire(ended);
  // Before the sinks are told, so that a client that hears of the end finds room.
  queue_.SetRunning(static_cast<int32_t>(running_.size()));
  const absl::Status why =
      orders.evict ? absl::UnavailableError("the server shut down before the request was done")
                   : absl::CancelledError("the request was cancelled");
  for (const std::unique_ptr<EncodeJob>& job : orders.dropped) job->Fail(why);
}

void EncoderEngine::Admit() {
  while (std::ssize(running_) < options_.num_slots) {
    std::unique_ptr<EncodeJob> next = queue_.Pop();
    if (next == nullptr) return;
    next->Start();
    running_.push_back({std::move(next)});
  }
}

/// Ends requests whose readers have been behind for too long.
void EncoderEngine::DropStalled() {
  const Clock::time_point now = Clock::now();
  std::vector<EncodeJob*> stalled;
  for (Running& running : running_) {
    const double seconds = running.reader.Check(running.job->KeepsUp(), now);
    if (seconds <= options_.max_stall_seconds) continue;
    running.job->Fail(absl::ResourceExhaustedError(
        absl::StrCat("the client reads too slowly: it has been behind for ",
                     options_.max_stall_seconds, " seconds")));
    stalled.push_back(running.job.get());
  }
  Retire(stalled);
}

/// Reads a piece of what is in the lane, or of what comes next.
void EncoderEngine::ReadOn(LaneOf which) {
  const Clock::time_point begin = Clock::now();
  Lane& lane = lanes_[which];
  if (!lane.encoding.has_value()) Begin(lane, which == kShort ? PickShort() : PickLong());
  if (!lane.encoding.has_value()) return;
  const absl::Status status = encoder_->Advance(*lane.encoding);
  StepReport report;
  if (!status.ok()) {
    Fail(lane, status);
  } else if (lane.encoding->done()) {
    report.prompt_tokens = static_cast<int32_t>(lane.encoding->rows());
    Report(lane);
  }
  const Clock::time_point end = Clock::now();
  last_step_ = end;
  report.seconds = SecondsBetween(begin, end);
  observer_->OnStep(report);
}

void EncoderEngine::Begin(Lane& lane, std::vector<Pick> picks) {
  if (picks.empty()) return;
  lane.picks = std::move(picks);
  std::vector<std::span<const int32_t>> texts;
  for (Pick& pick : lane.picks) {
    pick.index = pick.job->Take();
    texts.push_back(pick.job->Text(pick.index));
  }
  auto encoding = encoder_->Begin(texts);
  if (!encoding.ok()) return Fail(lane, encoding.status());
  lane.encoding = *std::move(encoding);
}

/// Whether a batch of `lengths` has room for one text more, which is then added to them.
bool EncoderEngine::Fits(std::vector<int64_t>& lengths, int64_t more) const {
  lengths.push_back(more);
  int64_t tokens = 0;
  for (const int64_t length : lengths) tokens += length;
  const bool fits =
      lengths.size() == 1 || (lengths.size() <= kBatchTexts && tokens <= kBatchTokens &&
                              encoder_->BytesFor(lengths) <= batch_bytes_);
  if (!fits) lengths.pop_back();
  return fits;
}

/// A text of each request in turn, so that a request of many does not stop those of one.
std::vector<EncoderEngine::Pick> EncoderEngine::PickShort() const {
  std::vector<Pick> picks;
  std::vector<int64_t> lengths;
  std::vector<int64_t> taken(running_.size());
  for (bool more = true; more;) {
    more = false;
    for (size_t i = 0; i < running_.size(); ++i) {
      EncodeJob& job = *running_[i].job;
      if (!job.KeepsUp()) continue;
      const std::span<const int32_t> next = job.After(taken[i]);
      if (next.empty() || std::ssize(next) > kBatchTokens) continue;
      if (!Fits(lengths, std::ssize(next))) continue;
      picks.push_back({&job});
      ++taken[i];
      more = true;
    }
  }
  return picks;
}

std::vector<EncoderEngine::Pick> EncoderEngine::PickLong() const {
  for (const Running& running : running_) {
    EncodeJob& job = *running.job;
    if (job.KeepsUp() && std::ssize(job.After(0)) > kBatchTokens) return {{&job}};
  }
  return {};
}

void EncoderEngine::Report(Lane& lane) {
  const Encoding encoding = *std::move(lane.encoding);
  lane.encoding.reset();
  const std::vector<Pick> picks = std::exchange(lane.picks, {});
  std::vector<EncodeJob*> ended;
  for (size_t i = 0; i < picks.size(); ++i) {
    EncodeJob* const job = picks[i].job;
    if (job == nullptr || std::ranges::count(ended, job) > 0) continue;
    auto result = ResultOf(encoding, static_cast<int64_t>(i), picks[i]);
    if (!result.ok()) job->Fail(result.status());
    if (!result.ok() || !job->Report(*std::move(result))) ended.push_back(job);
  }
  Retire(ended);
}

absl::StatusOr<EncodedText> EncoderEngine::ResultOf(const Encoding& encoding, int64_t text,
                                                    const Pick& pick) {
  EncodedText result{.index = pick.index, .tokens = std::ssize(pick.job->Text(pick.index))};
  if (pick.job->candidates() > 0) {
    absl::Status status = FillMasks(encoding, text, pick, result.masks);
    if (!status.ok()) return status;
    return result;
  }
  result.embedding = encoding.Embedding(text);
  return result;
}

absl::Status EncoderEngine::FillMasks(const Encoding& encoding, int64_t text, const Pick& pick,
                                      std::vector<FilledMask>& masks) {
  const std::vector<int32_t> places = MasksOf(pick.job->Text(pick.index), *config().mask_token_id);
  const auto slice = static_cast<size_t>(encoder_->options().slice_rows);
  for (size_t first = 0; first < places.size(); first += slice) {
    const auto some = std::span(places).subspan(first, std::min(slice, places.size() - first));
    std::vector<int32_t> rows(some.begin(), some.end());
    for (int32_t& row : rows) row += static_cast<int32_t>(encoding.FirstRow(text));
    const auto logits = encoder_->Logits(encoding, rows);
    if (!logits.ok()) return logits.status();
    const auto vocab_size = static_cast<size_t>(config().vocab_size);
    for (size_t i = 0; i < rows.size(); ++i) {
      const LogProbabilities found(logits->subspan(i * vocab_size, vocab_size));
      masks.push_back({.position = some[i], .candidates = found.Top(pick.job->candidates())});
    }
  }
  return absl::OkStatus();
}

/// All requests of the lane end with `status`.
void EncoderEngine::Fail(Lane& lane, const absl::Status& status) {
  if (absl::IsUnavailable(status)) device_failed_ = true;
  std::vector<EncodeJob*> ended;
  for (const Pick& pick : lane.picks) {
    if (pick.job == nullptr || std::ranges::count(ended, pick.job) > 0) continue;
    pick.job->Fail(status);
    ended.push_back(pick.job);
  }
  lane = {};
  Retire(ended);
}

void EncoderEngine::Retire(std::span<EncodeJob* const> ended) {
  if (ended.empty()) return;
  const auto is_over = [ended](const EncodeJob* job) {
    return job == nullptr || std::ranges::count(ended, job) > 0;
  };
  for (Lane& lane : lanes_) {
    for (Pick& pick : lane.picks) {
      if (is_over(pick.job)) pick.job = nullptr;
    }
    const bool wanted = std::ranges::any_of(lane.picks, [](const Pick& p) { return p.job; });
    if (!wanted) lane = {};
  }
  const Clock::time_point now = Clock::now();
  for (const Running& running : running_) {
    if (running.job == nullptr || !is_over(running.job.get())) continue;
    queue_.AddServiceTime(SecondsBetween(running.job->times().started(), now));
  }
  std::erase_if(running_, [&](const Running& running) { return is_over(running.job.get()); });
}

void EncoderEngine::PublishLoad() {
  int64_t tokens = 0;
  for (const Running& running : running_) tokens += running.job->PromptLeft();
  prompt_tokens_ = tokens;
  queue_.SetRunning(static_cast<int32_t>(running_.size()));
  observer_->OnLoad(Load());
}

}  // namespace fmaserver::engine
