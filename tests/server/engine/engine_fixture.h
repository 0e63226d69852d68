// A small random model and an engine around it.
#pragma once

#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "server/engine/engine.h"
#include "tests/support/temp_folder.h"

namespace fmaserver::testing {

/// Hierarchical, rope, 4 levels, GQA, byte tokenizer; vocab 260 with eos 257.
model::ModelConfig SmallConfig();

/// The same with selected tokens, sinks, and a distance that is reached soon.
model::ModelConfig SelectingConfig();

/// The same with units that queries open.
model::ModelConfig OpeningConfig();
kernels::ArchiveLayout OpeningLayout();  ///< with the default type of caches

/// SmallConfig() with what pretrained decoders have: normed heads, scaled frequencies, a layer
/// without rope.
model::ModelConfig NormingConfig();

std::unique_ptr<engine::Model> MakeModel(const model::ModelConfig& config, uint64_t seed,
                                         int32_t max_rows, int threads = 1);

/// Records what a request's sink was told. Thread-safe.
class Recorder {
 public:
  /// Blocks until the request is over; false after a minute.
  bool Wait() {
    std::unique_lock lock(mutex_);
    return over_.wait_for(lock, std::chrono::minutes(1), [this] { return is_over_; });
  }
  void End(std::optional<absl::Status> error) {
    const std::lock_guard lock(mutex_);
    status = error.value_or(absl::OkStatus());
    is_over_ = true;
    over_.notify_all();
  }
  absl::Status status;

 private:
  std::mutex mutex_;
  std::condition_variable over_;
  bool is_over_ = false;
};

class RecordingGenerateSink : public engine::GenerateSink, public Recorder {
 public:
  void OnPromptProgress(const engine::PromptProgress& read) override {
    progress.push_back(read.processed_tokens);
  }
  void OnPrompt(std::vector<engine::TokenScore> part) override {
    prompt.insert(prompt.end(), part.begin(), part.end());
  }
  void OnDelta(engine::Delta delta) override {
    tokens.insert(tokens.end(), delta.tokens.begin(), delta.tokens.end());
    logprobs.insert(logprobs.end(), delta.logprobs.begin(), delta.logprobs.end());
    top_logprobs.insert(top_logprobs.end(), delta.top_logprobs.begin(), delta.top_logprobs.end());
    sources.insert(sources.end(), delta.sources.begin(), delta.sources.end());
    shares.insert(shares.end(), delta.attention_shares.begin(), delta.attention_shares.end());
    text += delta.text;
  }
  void OnState(engine::State state) override { states.push_back(std::move(state)); }
  void OnFinish(engine::Finished how) override {
    text += how.text;
    finish = std::move(how);
    End(std::nullopt);
  }
  void OnInterrupted(engine::Kept what, uint64_t its_seed, const engine::Usage&) override {
    interrupted = std::move(what);
    seed = its_seed;
    End(absl::UnavailableError("interrupted"));
  }
  void OnError(const absl::Status& error, const engine::Usage&) override { End(error); }

  std::vector<engine::State> states;
  std::optional<engine::Kept> interrupted;
  uint64_t seed = 0;  ///< of `interrupted`
  std::vector<int64_t> progress;
  std::vector<engine::TokenScore> prompt;
  std::vector<int32_t> tokens;
  std::vector<float> logprobs;
  std::vector<std::vector<engine::TokenLogprob>> top_logprobs;
  std::vector<std::vector<engine::Source>> sources;
  std::vector<engine::AttentionShares> shares;
  std::string text;  ///< including the text that comes with the finish
  engine::Finished finish;
};

/// Records the samples of one request separately.
class SamplesSink : public engine::GenerateSink, public Recorder {
 public:
  explicit SamplesSink(int samples) : tokens(samples), logprobs(samples), left_(samples) {}
  void OnPromptProgress(const engine::PromptProgress& /*progress*/) override {}
  void OnPrompt(std::vector<engine::TokenScore>) override {}
  void OnState(engine::State) override {}
  void OnInterrupted(engine::Kept, uint64_t, const engine::Usage&) override {}
  void OnDelta(engine::Delta delta) override {
    auto& sample = tokens[delta.index];
    sample.insert(sample.end(), delta.tokens.begin(), delta.tokens.end());
    auto& scores = logprobs[delta.index];
    scores.insert(scores.end(), delta.logprobs.begin(), delta.logprobs.end());
  }
  void OnFinish(engine::Finished finish) override {
    usages.push_back(finish.usage);
    if (--left_ == 0) End(std::nullopt);
  }
  void OnError(const absl::Status& error, const engine::Usage&) override { End(error); }

  std::vector<std::vector<int32_t>> tokens;
  std::vector<std::vector<float>> logprobs;
  std::vector<engine::Usage> usages;

 private:
  int left_;
};

/// A layout for tests in which only the size of slots matters.
inline kernels::SlotLayout LayoutOf(int64_t slot_bytes) {
  kernels::SlotLayout layout;
  layout.slot_bytes = slot_bytes;
  return layout;
}

/// An engine around a random model (seed 3) with a byte tokenizer.
std::unique_ptr<engine::Engine> MakeEngine(engine::EngineOptions options,
                                           const model::ModelConfig& config = SmallConfig());

/// A random prompt of `length` bytes, sampled with `seed`, never ended by EOS, with logprobs.
engine::GenerateRequest Prompt(int length, int64_t max_tokens, uint64_t seed);

/// Submits and waits for the end.
std::shared_ptr<RecordingGenerateSink> Complete(engine::Engine& engine,
                                                engine::GenerateRequest request);

class RecordingScoreSink : public engine::ScoreSink, public Recorder {
 public:
  void OnPromptProgress(const engine::PromptProgress& /*progress*/) override {}
  void OnScores(std::vector<engine::TokenScore> part) override {
    scores.insert(scores.end(), part.begin(), part.end());
  }
  void OnFinish(const engine::Usage&) override { End(std::nullopt); }
  void OnError(const absl::Status& error, const engine::Usage&) override { End(error); }

  std::vector<engine::TokenScore> scores;
};

}  // namespace fmaserver::testing
