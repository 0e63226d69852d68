// The output of one sample of a request: its tokens, their text, and where they end.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/utf8.h"
#include "kernels/sampling.h"
#include "model_loader/tokenizer.h"
#include "server/engine/request.h"
#include "server/engine/stop_matcher.h"
#include "server/engine/valid_request.h"

namespace fmaserver::engine {

/// Why a sample is over.
struct Ending {
  FinishReason reason{};
  std::optional<int32_t> stop_token = {};  ///< kEos, or kStopSequence by a token
  std::string stop = {};                   ///< kStopSequence by a string
};

/// What the query of a chosen token attended to, as far as the request wants to know.
struct Attended {
  std::vector<Source> sources = {};
  AttentionShares shares = {};
};

class Output {
 public:
  /// The output of sample `index`. All arguments outlive it; without a tokenizer there is no text.
  Output(const ValidGenerateRequest& request, int32_t index, const model::Tokenizer* tokenizer,
         GenerateSink& sink);

  /// An earlier run of the request chose and reported `token`: it counts, and is not reported
  /// again.
  void Skip(int32_t token);

  /// Tokens that must not be chosen next because they would end the text before min_tokens.
  std::span<const int32_t> Suppressed() const;

  /// Adds `choice`, and tells the sink what it adds to the output. Returns the ending if this is
  /// the end.
  std::optional<Ending> Accept(const kernels::SampledRow& choice, Attended attended = {});

  /// The output is over: returns the text that was held back.
  std::string Finish();

  /// Every token chosen, including those that are not part of the output.
  const std::vector<int32_t>& chosen() const { return chosen_; }
  /// The number of tokens in the output.
  int64_t size() const { return size_; }

 private:
  void Emit(const kernels::SampledRow& choice, Attended attended, bool has_text);
  std::string Text(int32_t token);

  const ValidGenerateRequest& request_;
  const int32_t index_;
  const model::Tokenizer* const tokenizer_;
  GenerateSink& sink_;
  Utf8Stream characters_;
  StopMatcher stops_;
  std::vector<int32_t> chosen_;
  int64_t size_ = 0;
};

}  // namespace fmaserver::engine
