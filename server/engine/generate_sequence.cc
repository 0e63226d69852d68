#include "server/engine/generate_sequence.h"

#include <algorithm>
#include <utility>

#include "server/engine/score_sequence.h"

namespace fmaserver::engine {
namespace {

std::vector<int32_t> EosTokens(const GenerateRequest& request, const model::ModelConfig& config) {
  return request.ignore_eos ? std::vector<int32_t>() : config.eos_token_ids;
}

std::vector<int32_t> Joined(std::vector<int32_t> first, std::span<const int32_t> second) {
  first.insert(first.end(), second.begin(), second.end());
  return first;
}

bool Contains(const std::vector<int32_t>& tokens, int32_t token) {
  return std::ranges::find(tokens, token) != tokens.end();
}

std::span<const int32_t> PenaltyContext(const GenerateRequest& request) {
  return request.penalty_context ? *request.penalty_context : request.prompt;
}

}  // namespace

GenerateSequence::GenerateSequence(RequestId id, Clock::time_point arrival,
                                   std::shared_ptr<const GenerateRequest> request, uint64_t seed,
                                   std::shared_ptr<GenerateSink> sink,
                                   const SequenceContext& context, Fork fork)
    : Sequence(id, request->priority, arrival),
      request_(std::move(request)),
      sink_(std::move(sink)),
      context_(context),
      seed_(seed),
      fork_(fork),
      eos_tokens_(EosTokens(*request_, context.config)),
      stop_tokens_(Joined(eos_tokens_, request_->stop_token_ids)),
      sampler_(request_->sampling, seed_, PenaltyContext(*request_)),
      stops_(request_->stop, request_->include_stop),
      start_(fork_.start),
      cached_(fork_.cached) {}

bool GenerateSequence::Begin() {
  // Without an answer to choose, the last token stays pending: the next turn reads it first.
  to_read_ = request_->max_tokens > 0 ? PromptTokens() : PromptTokens() - 1;
  SnapshotPtr state = fork_.index > 0 ? std::exchange(fork_state_, {}) : request_->state;
  if (fork_.index == 0) {
    start_ = state == nullptr ? 0 : state->tokens();
    if (request_->n > 1) points_.SetFork(start_ + PromptTokens() - 1);
    for (const int64_t mark : request_->marks) points_.AddMark(start_ + request_->pending + mark);
    if (request_->keep_state) points_.KeepRegularly();
    if (state == nullptr) state = FindCached();
  }
  absl::Status status = state == nullptr ? absl::OkStatus() : Restore(*state);
  if (status.ok() && points_.IsFork(position())) status = KeepPoint();
  if (!status.ok()) {
    Fail(status);
    return false;
  }
  SkipGenerated();
  ReportPrompt(/*before=*/0, {});
  return Reading() || End(FinishReason::kLength);
}

/// A state of the prompt's beginning; also plans which states of it to keep.
SnapshotPtr GenerateSequence::FindCached() {
  if (context_.cache == nullptr || !request_->cache_scope || request_->prompt_logprobs) return {};
  PrefixCache::Lookup found = context_.cache->Find(*request_->cache_scope, request_->prompt);
  for (const int64_t point : found.points) points_.AddCache(point);
  if (!request_->keep_state) {
    for (const int64_t mark : request_->marks) points_.AddCache(request_->pending + mark);
  }
  if (found.state != nullptr) cached_ = found.state->tokens();
  context_.observer->OnCacheLookup(PromptTokens(), cached_);
  return found.state;
}

/// What an earlier run chose has been reported, but counts.
void GenerateSequence::SkipGenerated() {
  for (const int32_t token : request_->generated) {
    sampler_.Skip(token);
    chosen_.push_back(token);
    ++emitted_;
    Text(token);
  }
}

std::span<const int32_t> GenerateSequence::Pending() const {
  if (!Reading()) return {&chosen_.back(), 1};
  const int64_t end = std::min(start_ + to_read_, points_.After(position()));
  return std::span(request_->prompt)
      .subspan(static_cast<size_t>(Read()), static_cast<size_t>(end - position()));
}

int32_t GenerateSequence::LogitsWanted(int32_t rows) const {
  if (request_->prompt_logprobs && fork_.index == 0 && Reading()) return rows;
  return Read() + rows >= PromptTokens() ? 1 : 0;
}

std::optional<kernels::RowSampling> GenerateSequence::Choice() {
  if (request_->prompt_logprobs && fork_.index == 0 && Reading()) return std::nullopt;
  kernels::RowSampling row = sampler_.Describe(Suppressed());
  row.logprob = request_->logprobs;
  row.top_logprobs = request_->top_logprobs;
  return row;
}

bool GenerateSequence::Advance(int32_t rows, const StepOutcome& outcome) {
  const bool was_reading = Reading();
  const int64_t before = Read();
  AddFed(rows);
  if (was_reading && fork_.index == 0) {
    ReportPrompt(before, outcome);
    sink_->OnPromptProgress(Read(), PromptTokens());
  }
  if (const absl::Status status = KeepPoint(); !status.ok()) {
    Fail(status);
    return false;
  }
  if (Read() < PromptTokens()) {
    if (!Reading()) return End(FinishReason::kLength);
    return !TimeIsUp() || End(FinishReason::kTimeLimit);
  }
  if (outcome.chosen != nullptr) {
    sampler_.Skip(outcome.chosen->token);
    return Accept(*outcome.chosen);
  }
  const auto choice = Choose(outcome.logits.last(static_cast<size_t>(outcome.vocab_size)));
  if (choice.ok()) return Accept(*choice);
  Fail(choice.status());
  return false;
}

/// At a point for it, forks or hands the state to whom it is for.
absl::Status GenerateSequence::KeepPoint() {
  const int64_t tokens = position();
  if (points_.IsFork(tokens)) MakeForks();
  const bool cached = points_.IsCache(tokens);
  const bool kept = request_->keep_state && points_.IsAny(tokens);
  if (!cached && !kept) return absl::OkStatus();
  absl::StatusOr<SnapshotPtr> state = State();
  if (!state.ok()) return state.status();
  if (cached) context_.cache->Insert(*request_->cache_scope, request_->prompt, *state);
  if (kept) sink_->OnState(*state);
  return absl::OkStatus();
}

void GenerateSequence::MakeForks() {
  for (int32_t index = 1; index < request_->n; ++index) {
    forks_.emplace_back(new GenerateSequence(id(), arrival(), request_,
                                             seed_ + static_cast<uint64_t>(index), sink_, context_,
                                             {index, start_, cached_}));
  }
}

std::vector<std::unique_ptr<Sequence>> GenerateSequence::TakeForks() {
  return std::exchange(forks_, {});
}

/// Reports tokens of the prompt when asked to, as far as they are known to be read: `before` of
/// them were before this step, with this outcome.
void GenerateSequence::ReportPrompt(int64_t before, const StepOutcome& outcome) {
  if (fork_.index > 0 || !(request_->echo || request_->prompt_logprobs)) return;
  const std::span<const int32_t> prompt = request_->prompt;
  const int64_t pending = request_->pending;
  std::vector<TokenScore> scores;
  if (request_->prompt_logprobs) {
    const auto rows = static_cast<int32_t>(Read() - before);
    if (before == 0 && rows > 0 && pending == 0) scores.push_back({prompt[0], std::nullopt, {}});
    std::vector<TokenScore> rest = ScoreFollowers(prompt, before, rows, outcome.logits,
                                                  outcome.vocab_size, *request_->prompt_logprobs);
    const auto skipped = std::clamp<int64_t>(pending - before - 1, 0, std::ssize(rest));
    scores.insert(scores.end(), rest.begin() + skipped, rest.end());
  } else {
    // A last token that stays pending is reported all the same.
    const int64_t end = Reading() ? Read() : PromptTokens();
    for (int64_t i = std::max(before, pending); i < end; ++i) {
      scores.push_back({prompt[i], std::nullopt, {}});
    }
  }
  if (!scores.empty()) sink_->OnPrompt(std::move(scores));
}

/// Tokens that must not be chosen yet.
std::span<const int32_t> GenerateSequence::Suppressed() const {
  const bool may_stop = emitted_ >= request_->min_tokens;
  return may_stop ? std::span<const int32_t>() : stop_tokens_;
}

absl::StatusOr<kernels::SampledRow> GenerateSequence::Choose(std::span<const float> logits) {
  const absl::StatusOr<int32_t> token = sampler_.Sample(logits, Suppressed());
  if (!token.ok()) return token.status();
  kernels::SampledRow choice;
  choice.token = *token;
  if (request_->logprobs || request_->top_logprobs > 0) {
    const LogProbabilities probabilities(logits);
    choice.logprob = probabilities.Of(*token);
    choice.top = probabilities.Top(request_->top_logprobs);
  }
  return choice;
}

bool GenerateSequence::Accept(const kernels::SampledRow& choice) {
  const int32_t token = choice.token;
  ReportLatency();
  chosen_.push_back(token);
  if (Contains(eos_tokens_, token)) return End(FinishReason::kEos, token);
  const bool stops = Contains(stop_tokens_, token);
  if (!stops || request_->include_stop) Emit(choice);
  if (stops) return End(FinishReason::kStopSequence, token);
  if (stops_.matched() != nullptr) {
    return End(FinishReason::kStopSequence, {}, *stops_.matched());
  }
  // The new token would take position position(): past the end there is no place for it.
  const bool full = position() >= context_.config.MaxSequenceLength();
  if (emitted_ >= request_->max_tokens || full) return End(FinishReason::kLength);
  return !TimeIsUp() || End(FinishReason::kTimeLimit);
}

bool GenerateSequence::TimeIsUp() const {
  return SecondsBetween(started(), Clock::now()) >= request_->time_limit_seconds;
}

void GenerateSequence::ReportLatency() {
  const Clock::time_point now = Clock::now();
  if (!first_token_) {
    first_token_ = now;
    context_.observer->OnFirstToken(SecondsBetween(arrival(), now));
  } else {
    context_.observer->OnNextToken(SecondsBetween(*last_token_, now), position());
  }
  last_token_ = now;
}

/// The text that `token` makes certain; emitted_ counts it already.
std::string GenerateSequence::Text(int32_t token) {
  if (context_.tokenizer == nullptr) return {};
  std::string text = characters_.Push(context_.tokenizer->TokenBytes(token));
  // Nothing within min_tokens counts as a stop string, nor as the start of one.
  return emitted_ > request_->min_tokens ? stops_.Push(text) : text;
}

void GenerateSequence::Emit(const kernels::SampledRow& choice) {
  ++emitted_;
  Delta delta;
  delta.index = fork_.index;
  delta.tokens.push_back(choice.token);
  delta.text = Text(choice.token);
  if (request_->logprobs) delta.logprobs.push_back(choice.logprob);
  if (request_->top_logprobs > 0) delta.top_logprobs.push_back(choice.top);
  sink_->OnDelta(std::move(delta));
}

bool GenerateSequence::End(FinishReason reason, std::optional<int32_t> stop_token,
                           std::string stop) {
  Finished finish;
  if (request_->keep_state && position() > 0) {
    absl::StatusOr<SnapshotPtr> state = State();
    if (!state.ok()) {
      Fail(state.status());
      return false;
    }
    finish.kept = {*std::move(state), chosen_};
  }
  CacheAll();
  finish.index = fork_.index;
  finish.reason = reason;
  finish.stop_token = stop_token;
  finish.stop = std::move(stop);
  finish.usage = CurrentUsage();
  finish.text = stops_.Finish();
  // Past a stop string there is no text.
  if (stops_.matched() == nullptr) finish.text += characters_.Finish();
  ReportEnd(absl::StatusCode::kOk, reason);
  sink_->OnFinish(std::move(finish));
  return false;
}

Usage GenerateSequence::CurrentUsage() const {
  const Clock::time_point now = Clock::now();
  const Clock::time_point first_token = first_token_.value_or(now);
  Usage usage;
  usage.prompt_tokens = PromptTokens() - request_->pending;
  usage.cached_tokens = std::max<int64_t>(0, cached_ - request_->pending);
  usage.generated_tokens = emitted_;
  if (!slot()) {
    usage.queue_seconds = SecondsBetween(arrival(), now);
    return usage;
  }
  usage.queue_seconds = SecondsBetween(arrival(), started());
  usage.prefill_seconds = SecondsBetween(started(), first_token);
  usage.decode_seconds = SecondsBetween(first_token, now);
  return usage;
}

/// Prompts that quote this answer, as the next turn of a chat does, find all of it.
void GenerateSequence::CacheAll() {
  const bool cacheable = context_.cache != nullptr && request_->cache_scope &&
                         request_->state == nullptr && !request_->keep_state;
  if (!cacheable || Read() < PromptTokens()) return;
  auto state = State();
  // A copy that failed costs the next prompt some time, this one nothing.
  if (!state.ok()) return;
  context_.cache->Insert(*request_->cache_scope, Joined(request_->prompt, chosen_),
                         *std::move(state));
}

void GenerateSequence::ReportEnd(absl::StatusCode code, FinishReason reason) {
  context_.observer->OnEnd({.code = code,
                            .reason = reason,
                            .usage = CurrentUsage(),
                            .end_to_end_seconds = SecondsBetween(arrival(), Clock::now())});
}

void GenerateSequence::Fail(const absl::Status& status) {
  ReportEnd(status.code(), {});
  sink_->OnError(status);
}

void GenerateSequence::Interrupt(const absl::Status& status) {
  if (!request_->keep_state) return Fail(status);
  Kept kept{request_->state, chosen_};
  if (slot() && position() > 0) {
    absl::StatusOr<SnapshotPtr> state = State();
    if (!state.ok()) return Fail(state.status());
    kept.state = *std::move(state);
  } else if (!slot()) {
    kept.generated = request_->generated;
  }
  ReportEnd(status.code(), {});
  sink_->OnInterrupted(std::move(kept), seed_);
}

}  // namespace fmaserver::engine
