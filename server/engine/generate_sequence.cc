#include "server/engine/generate_sequence.h"

#include <algorithm>
#include <utility>

#include "server/engine/archive_need.h"
#include "server/engine/attention_shares.h"

namespace fmaserver::engine {
namespace {

std::span<const int32_t> PenaltyContext(const GenerateRequest& request) {
  return request.penalty_context ? *request.penalty_context : request.prompt;
}

}  // namespace

GenerateSequence::GenerateSequence(RequestId id, Request request,
                                   std::shared_ptr<GenerateSink> sink,
                                   const SequenceContext& context, SequenceArchive archive)
    : Sequence(id, (*request)->priority, Clock::now(), (*request)->state.tokens(),
               std::move(archive)),
      valid_(std::move(request)),
      request_(**valid_),
      sink_(std::move(sink)),
      context_(context),
      end_(std::make_shared<RequestEnd>(request_.n, *context.observer)),
      unborn_(request_.n - 1),
      prompt_(request_, position(), /*reports=*/true),
      states_(request_, this->archive().opens(), *sink_, context.cache, *context.observer),
      sampler_(request_.sampling, Seed(), PenaltyContext(request_)),
      output_(*valid_, fork_.index, context.tokenizer, *sink_) {
  // Looks at every token of the prompt, so it is made here, on the caller's thread.
  if (request_.sources > 0 && this->archive().opens()) {
    sources_.emplace(context_.config, context_.tokenizer, request_);
  }
}

GenerateSequence::GenerateSequence(const GenerateSequence& parent, const Fork& fork)
    : Sequence(parent.id(), parent.priority(), parent.times().arrival(), parent.position(),
               parent.archive().Fork(parent.position())),
      valid_(parent.valid_),
      request_(**valid_),
      sink_(parent.sink_),
      context_(parent.context_),
      end_(parent.end_),
      fork_(fork),
      cached_(parent.cached_),
      cache_miss_(parent.cache_miss_),
      unborn_(0),
      prompt_(request_, request_.state.tokens(), /*reports=*/false),
      states_(request_, archive().opens(), *sink_, context_.cache, *context_.observer),
      sampler_(request_.sampling, Seed(), PenaltyContext(request_)),
      output_(*valid_, fork_.index, context_.tokenizer, *sink_),
      sources_(parent.sources_) {}

absl::Status GenerateSequence::RestoreParked(State state) {
  absl::StatusOr<SnapshotPtr> slot = context_.parking->Restore(std::move(state.slot));
  if (!slot.ok()) return slot.status();
  state.slot = *std::move(slot);
  return Restore(state);
}

bool GenerateSequence::Begin() {
  const int64_t start = position();
  State state = IsFork() ? std::exchange(fork_.state, {}) : states_.Begin();
  if (!IsFork()) {
    cached_ = states_.cached();
    cache_miss_ = states_.miss();
  }
  const int64_t archived = std::ssize(state.archive);
  absl::Status status = state.slot == nullptr ? absl::OkStatus() : RestoreParked(std::move(state));
  if (!IsFork() && archive().opens()) {
    // What the cache had need not be made again.
    archive().reserve()->Shrink(
        ArchiveNeed(request_, context_.config, archive().layout(), archived));
  }
  if (status.ok() && states_.IsFork(position())) status = KeepState();
  if (!status.ok()) {
    Fail(status);
    return false;
  }
  // Tokens that an earlier run chose are not reported again, but they count.
  for (const int32_t token : request_.generated) {
    sampler_.Skip(token);
    output_.Skip(token);
  }
  ReportPrompt(start, {});
  return Reading() || End({FinishReason::kLength});
}

std::span<const int32_t> GenerateSequence::Pending() const {
  if (!Reading()) return {&output_.chosen().back(), 1};
  return prompt_.Next(position(), states_.NextPoint(position()));
}

std::span<float> GenerateSequence::UnitWeights(size_t size) {
  if (!sources_) return {};
  unit_weights_.assign(size, 0);
  return unit_weights_;
}

std::span<float> GenerateSequence::SharesOfAttention(size_t size) {
  if (!request_.attention_shares) return {};
  attention_shares_.assign(size, 0);
  return attention_shares_;
}

std::optional<kernels::RowSampling> GenerateSequence::Choice() {
  if (prompt_.Scores(position())) return std::nullopt;
  kernels::RowSampling row = sampler_.Describe(output_.Suppressed());
  row.logprob = request_.logprobs;
  row.top_logprobs = request_.top_logprobs;
  return row;
}

bool GenerateSequence::Advance(int32_t accepted, const StepOutcome& outcome) {
  const bool was_reading = Reading();
  const int64_t before = position();
  AddFed(accepted);
  if (was_reading && !IsFork()) {
    ReportPrompt(before, outcome.logits);
    sink_->OnPromptProgress({.processed_tokens = prompt_.Read(position()),
                             .total_tokens = prompt_.Size(),
                             .cached_tokens = cached_});
  }
  if (const absl::Status status = KeepState(); !status.ok()) {
    Fail(status);
    return false;
  }
  if (!prompt_.Done(position())) {
    if (!Reading()) return End({FinishReason::kLength});
    return !TimeIsUp() || End({FinishReason::kTimeLimit});
  }
  const absl::StatusOr<kernels::SampledRow> choice = Choose(outcome);
  if (choice.ok()) return Accept(*choice, FindAttended(outcome));
  Fail(choice.status());
  return false;
}

absl::Status GenerateSequence::KeepState() {
  if (states_.IsFork(position())) forks_due_ = std::exchange(unborn_, 0);
  return states_.Keep(position(), [this] { return CurrentState(); });
}

int32_t GenerateSequence::TakeForks() { return std::exchange(forks_due_, 0); }

std::unique_ptr<Sequence> GenerateSequence::MakeFork(const Fork& fork) const {
  return std::unique_ptr<Sequence>(new GenerateSequence(*this, fork));
}

/// Reports what became known of the prompt by reading on from position `before`, with these logits.
void GenerateSequence::ReportPrompt(int64_t before, std::span<const float> logits) {
  std::vector<TokenScore> tokens = prompt_.Report(before, position(), logits);
  if (!tokens.empty()) sink_->OnPrompt(std::move(tokens));
}

absl::StatusOr<kernels::SampledRow> GenerateSequence::Choose(const StepOutcome& outcome) {
  if (outcome.chosen != nullptr) {
    if (outcome.chosen->token == kernels::kNoToken) return LogitsNotFinite();
    sampler_.Skip(outcome.chosen->token);
    return *outcome.chosen;
  }
  const std::span<const float> logits =
      outcome.logits.last(static_cast<size_t>(outcome.vocab_size));
  const absl::StatusOr<int32_t> token = sampler_.Sample(logits, output_.Suppressed());
  if (!token.ok()) return token.status();
  kernels::SampledRow choice;
  choice.token = *token;
  if (request_.logprobs || request_.top_logprobs > 0) {
    const LogProbabilities probabilities(logits);
    choice.logprob = probabilities.Of(*token);
    choice.top = probabilities.Top(request_.top_logprobs);
  }
  return choice;
}

Attended GenerateSequence::FindAttended(const StepOutcome& outcome) {
  Attended attended;
  if (sources_) attended.sources = sources_->Find(outcome.unit_weights, output_.chosen());
  if (request_.attention_shares) {
    attended.shares = SharesOf(context_.config, outcome.attention_shares);
  }
  return attended;
}

bool GenerateSequence::Accept(const kernels::SampledRow& choice, Attended attended) {
  const Clock::time_point now = Clock::now();
  if (const std::optional<double> gap = mutable_times().Token(now)) {
    context_.observer->OnNextToken(*gap, position());
  } else {
    context_.observer->OnFirstToken(SecondsBetween(times().arrival(), now));
  }
  std::optional<Ending> ending = output_.Accept(choice, std::move(attended));
  // The new token would take position position(), which must not be past the last one.
  const bool full = position() >= context_.config.MaxSequenceLength();
  if (!ending && full) ending = Ending{FinishReason::kLength};
  if (!ending && TimeIsUp()) ending = Ending{FinishReason::kTimeLimit};
  return !ending || End(*ending);
}

bool GenerateSequence::TimeIsUp() const {
  return SecondsSince(times().started()) >= request_.time_limit_seconds;
}

bool GenerateSequence::End(const Ending& ending) {
  Finished finish;
  if (request_.keep_state && position() > 0) {
    absl::StatusOr<State> state = CurrentState();
    if (!state.ok()) {
      Fail(state.status());
      return false;
    }
    finish.kept = {*std::move(state), output_.chosen()};
  }
  if (prompt_.Done(position())) {
    states_.KeepAnswer(output_.chosen(), [this] { return CurrentState(); });
  }
  finish.reason = ending.reason;
  finish.stop_token = ending.stop_token;
  finish.stop = ending.stop;
  finish.usage = CurrentUsage();
  finish.text = output_.Finish();
  // When the sample that reads the prompt ends, the samples that could not begin yet end with it.
  for (finish.index = fork_.index; finish.index <= fork_.index + unborn_; ++finish.index) {
    ReportEnd(absl::StatusCode::kOk, ending.reason, finish.usage);
    sink_->OnFinish(finish);
  }
  return false;
}

Usage GenerateSequence::CurrentUsage() const {
  const int64_t pending = request_.pending;
  Usage usage;
  usage.prompt_tokens = prompt_.Size() - pending;
  usage.cached_tokens = std::max<int64_t>(0, cached_ - pending);
  usage.cache_miss = cache_miss_;
  usage.generated_tokens = output_.size();
  usage.archived_tokens = archive().TokensAt(position());
  times().FillIn(usage, Clock::now());
  return usage;
}

void GenerateSequence::ReportEnd(absl::StatusCode code, FinishReason reason, const Usage& usage) {
  end_->Add({.code = code,
             .reason = reason,
             .usage = usage,
             .end_to_end_seconds = SecondsSince(times().arrival())});
}

void GenerateSequence::Fail(const absl::Status& status) {
  forks_due_ = 0;
  const Usage usage = CurrentUsage();
  ReportEnd(status.code(), {}, usage);
  sink_->OnError(status, usage);
}

void GenerateSequence::Interrupt(const absl::Status& status) {
  if (!request_.keep_state) return Fail(status);
  Kept kept{request_.state, output_.chosen()};
  if (!slot()) {
    kept.generated = request_.generated;
  } else if (position() > 0) {
    absl::StatusOr<State> state = CurrentState();
    if (!state.ok()) return Fail(state.status());
    kept.state = *std::move(state);
  }
  const Usage usage = CurrentUsage();
  ReportEnd(status.code(), {}, usage);
  sink_->OnInterrupted(std::move(kept), Seed(), usage);
}

}  // namespace fmaserver::engine
