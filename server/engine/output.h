// What one sample of a request says: its tokens, their text, and where both end.
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

class Output {
 public:
  /// Of sample `index`. All of them outlive the output; without a tokenizer there is no text.
  Output(const ValidGenerateRequest& request, int32_t index, const model::Tokenizer* tokenizer,
         GenerateSink& sink);

  /// An earlier run of the request has chosen `token` and told it: it counts, and is not told.
  void Skip(int32_t token);

  /// Tokens that must not be chosen next: what would end a text of less than min_tokens.
  std::span<const int32_t> Suppressed() const;

  /// `choice` comes next: tells the sink what it adds to the output. Set if it ends the output.
  std::optional<Ending> Accept(const kernels::SampledRow& choice);

  /// The output is over: the text that was held back.
  std::string Finish();

  /// Every token chosen, also what is no part of the output.
  const std::vector<int32_t>& chosen() const { return chosen_; }
  /// Tokens of the output.
  int64_t size() const { return size_; }

 private:
  void Emit(const kernels::SampledRow& choice);
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
