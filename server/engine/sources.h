// Where a chosen token came from: the units of the far past that its query read, with what they
// say.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/byte_range.h"
#include "model_loader/model_config.h"
#include "model_loader/tokenizer.h"
#include "server/engine/request.h"

namespace fmaserver::engine {

/// The text of a sequence, token by token, as far as its tokens are known.
class SequenceText {
 public:
  /// `tokenizer` may be null: all text is empty then. `first` is the position of the first token.
  SequenceText(const model::Tokenizer* tokenizer, int64_t first)
      : tokenizer_(tokenizer), first_(first) {}

  void Add(std::span<const int32_t> tokens);

  /// The position after the last token.
  int64_t end() const { return first_ + std::ssize(tokens_); }

  /// Fills in what the tokens of `source` say.
  void Describe(Source& source) const;

 private:
  const model::Tokenizer* const tokenizer_;
  const int64_t first_;
  std::vector<int32_t> tokens_;
  std::vector<size_t> ends_;  // of their text, in bytes after the text before first_
};

/// The sources of one sample's tokens. `config` and `request` outlive it.
class SourceFinder {
 public:
  SourceFinder(const model::ModelConfig& config, const model::Tokenizer* tokenizer,
               const GenerateRequest& request);

  /// The request.sources units with the largest weights, best first; none without any weight.
  /// `unit_weights` are as of kernels::Segment; `chosen` are all tokens chosen before.
  std::vector<Source> Find(std::span<const float> unit_weights, std::span<const int32_t> chosen);

 private:
  const model::ModelConfig& config_;
  const GenerateRequest& request_;
  SequenceText text_;
  size_t chosen_ = 0;  // tokens in text_ that the request chose
};

}  // namespace fmaserver::engine
