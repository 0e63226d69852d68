// A sequence that continues its prompt.
#pragma once

#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "base/utf8.h"
#include "model_loader/model_config.h"
#include "model_loader/tokenizer.h"
#include "server/engine/observer.h"
#include "server/engine/prefix_cache.h"
#include "server/engine/request.h"
#include "server/engine/sampler.h"
#include "server/engine/sequence.h"
#include "server/engine/state_points.h"
#include "server/engine/stop_matcher.h"

namespace fmaserver::engine {

/// What the sequences of one engine share; outlives them.
struct SequenceContext {
  const model::ModelConfig& config;
  const model::Tokenizer* tokenizer = nullptr;  ///< may be null
  PrefixCache* cache = nullptr;                 ///< may be null
  EngineObserver* observer = nullptr;
};

/// One sample of a request. Sample 0 reads the prompt; when only its last token is left to read,
/// it hands the state to the others (TakeForks).
class GenerateSequence : public Sequence {
 public:
  GenerateSequence(RequestId id, std::shared_ptr<const GenerateRequest> request, uint64_t seed,
                   std::shared_ptr<GenerateSink> sink, const SequenceContext& context)
      : GenerateSequence(id, Clock::now(), std::move(request), seed, std::move(sink), context, {}) {
  }

  bool HasRoom() const override { return sink_->HasRoom(); }
  std::span<const int32_t> Pending() const override;
  bool Reading() const override { return Read() < to_read_; }
  int32_t LogitsWanted(int32_t rows) const override;
  std::optional<kernels::RowSampling> Choice() override;
  bool Advance(int32_t rows, const StepOutcome& outcome) override;
  std::vector<std::unique_ptr<Sequence>> TakeForks() override;
  void KeepForStart(const SnapshotPtr& state) override { fork_state_ = state; }
  void Fail(const absl::Status& status) override;
  void Interrupt(const absl::Status& status) override;

 protected:
  bool Begin() override;

 private:
  /// Where a sample begins; of index 0, the one that reads the prompt, only that.
  struct Fork {
    int32_t index = 0;
    int64_t start = 0;  // position of the prompt's first token
    int64_t cached = 0;
  };
  GenerateSequence(RequestId id, Clock::time_point arrival,
                   std::shared_ptr<const GenerateRequest> request, uint64_t seed,
                   std::shared_ptr<GenerateSink> sink, const SequenceContext& context, Fork fork);

  int64_t PromptTokens() const { return static_cast<int64_t>(request_->prompt.size()); }
  /// Tokens of the prompt that the slot holds.
  int64_t Read() const { return position() - start_; }

  SnapshotPtr FindCached();
  void SkipGenerated();
  absl::Status KeepPoint();
  void MakeForks();
  void ReportPrompt(int64_t before, const StepOutcome& outcome);
  std::span<const int32_t> Suppressed() const;
  absl::StatusOr<kernels::SampledRow> Choose(std::span<const float> logits);
  bool Accept(const kernels::SampledRow& choice);
  bool TimeIsUp() const;
  void ReportLatency();
  void Emit(const kernels::SampledRow& choice);
  std::string Text(int32_t token);
  bool End(FinishReason reason, std::optional<int32_t> stop_token = {}, std::string stop = {});
  Usage CurrentUsage() const;
  void CacheAll();
  void ReportEnd(absl::StatusCode code, FinishReason reason);

  const std::shared_ptr<const GenerateRequest> request_;
  const std::shared_ptr<GenerateSink> sink_;
  const SequenceContext context_;
  const uint64_t seed_;                     // of this sample
  const Fork fork_;                         // index 0: the sample that reads the prompt
  SnapshotPtr fork_state_;                  // of one that had to wait
  const std::vector<int32_t> eos_tokens_;   // that end this sequence
  const std::vector<int32_t> stop_tokens_;  // eos_tokens_ and the request's
  Sampler sampler_;
  Utf8Stream characters_;
  StopMatcher stops_;
  StatePoints points_;
  std::vector<std::unique_ptr<Sequence>> forks_;
  int64_t start_;        // position of the prompt's first token
  int64_t to_read_ = 0;  // tokens of the prompt that must be read before the first choice
  int64_t cached_;
  int64_t emitted_ = 0;          // of the output
  std::vector<int32_t> chosen_;  // all tokens so far, also what is not output
  std::optional<Clock::time_point> first_token_;
  std::optional<Clock::time_point> last_token_;
};

}  // namespace fmaserver::engine
