// A sequence that continues its prompt.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "model_loader/model_config.h"
#include "model_loader/tokenizer.h"
#include "server/engine/observer.h"
#include "server/engine/output.h"
#include "server/engine/parking.h"
#include "server/engine/prefix_cache.h"
#include "server/engine/prompt_reader.h"
#include "server/engine/request.h"
#include "server/engine/request_end.h"
#include "server/engine/sampler.h"
#include "server/engine/sequence.h"
#include "server/engine/sources.h"
#include "server/engine/state_keeper.h"
#include "server/engine/valid_request.h"

namespace fmaserver::engine {

/// What all sequences of one engine share; it outlives them.
struct SequenceContext {
  const model::ModelConfig& config;
  const Parking* parking = nullptr;
  const model::Tokenizer* tokenizer = nullptr;  ///< may be null
  PrefixCache* cache = nullptr;                 ///< may be null
  EngineObserver* observer = nullptr;
};

/// One sample of a request. Sample 0 reads the prompt; when only its last token is left to read,
/// the others fork from it.
class GenerateSequence : public Sequence {
 public:
  using Request = std::shared_ptr<const ValidGenerateRequest>;

  /// Sample 0. `archive` is empty, and has what all samples together need (ArchiveNeed).
  GenerateSequence(RequestId id, Request request, std::shared_ptr<GenerateSink> sink,
                   const SequenceContext& context, SequenceArchive archive);

  bool KeepsUp() const override { return sink_->KeepsUp(); }
  int64_t PromptLeft() const override { return prompt_.Left(position()); }
  std::span<const int32_t> Pending() const override;
  int32_t LogitsWanted(int32_t rows) const override {
    return prompt_.LogitsWanted(position(), rows);
  }
  std::span<float> UnitWeights(size_t size) override;
  std::span<float> SharesOfAttention(size_t size) override;
  std::optional<kernels::RowSampling> Choice() override;
  bool Advance(int32_t accepted, const StepOutcome& outcome) override;
  int32_t TakeForks() override;
  std::unique_ptr<Sequence> MakeFork(const Fork& fork) const override;
  void Fail(const absl::Status& status) override;
  void Interrupt(const absl::Status& status) override;

 protected:
  bool Begin() override;

 private:
  /// Another sample, which begins where `parent` is now.
  GenerateSequence(const GenerateSequence& parent, const Fork& fork);

  bool IsFork() const { return fork_.index > 0; }
  uint64_t Seed() const { return valid_->seed() + static_cast<uint64_t>(fork_.index); }

  absl::Status RestoreParked(State state);
  absl::Status KeepState();
  void ReportPrompt(int64_t before, std::span<const float> logits);
  absl::StatusOr<kernels::SampledRow> Choose(const StepOutcome& outcome);
  bool Accept(const kernels::SampledRow& choice, Attended attended);
  Attended FindAttended(const StepOutcome& outcome);
  bool TimeIsUp() const;
  bool End(const Ending& ending);
  Usage CurrentUsage() const;
  void ReportEnd(absl::StatusCode code, FinishReason reason, const Usage& usage);

  const Request valid_;
  const GenerateRequest& request_;  // *valid_
  const std::shared_ptr<GenerateSink> sink_;
  const SequenceContext context_;
  const std::shared_ptr<RequestEnd> end_;  // of all samples together
  Fork fork_;                              // index 0: the sample that reads the prompt
  int64_t cached_ = 0;                     // tokens of the prompt that need not be read
  CacheMiss cache_miss_{};                 // why there are none
  int32_t forks_due_ = 0;                  // samples that begin here
  int32_t unborn_;                         // samples that depend on this one to begin
  PromptReader prompt_;
  StateKeeper states_;
  Sampler sampler_;
  Output output_;
  std::optional<SourceFinder> sources_;  // if the request wants them and there may be some
  std::vector<float> unit_weights_;      // of the step, for them
  std::vector<float> attention_shares_;  // of the step
};

}  // namespace fmaserver::engine
