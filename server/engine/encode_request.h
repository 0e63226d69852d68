// What an encoder's engine accepts and what it reports, free of any wire format.
#pragma once

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "server/engine/request.h"

namespace fmaserver::engine {

inline constexpr size_t kMaxTexts = 2048;
inline constexpr size_t kMaxMasks = 1024;

struct EncodeRequest {
  std::vector<std::vector<int32_t>> texts;  ///< 1..kMaxTexts, of one token or more, each in [0, V)
  /// 0: the embedding of each text. 1..kMaxTopLogprobs: the most likely tokens, so many, wherever a
  /// text has the model's mask token, which is once or more in each text, and together at most
  /// kMaxMasks times.
  int32_t candidates = 0;

  /// Of all texts together.
  int64_t Tokens() const {
    int64_t tokens = 0;
    for (const std::vector<int32_t>& text : texts) tokens += std::ssize(text);
    return tokens;
  }
};

/// The most likely tokens at one place of a text, best first.
struct FilledMask {
  int64_t position = 0;
  std::vector<TokenLogprob> candidates = {};
};

/// What was made of one text.
struct EncodedText {
  int64_t index = 0;  ///< in the request
  int64_t tokens = 0;
  std::vector<float> embedding = {};   ///< [D], of length 1; empty when candidates were asked for
  std::vector<FilledMask> masks = {};  ///< in the order of the text
};

/// Where the engine reports one request. Called on the engine's thread, so a sink must return
/// quickly and never block; after OnFinish or OnError it is not called again.
class EncodeSink {
 public:
  virtual ~EncodeSink() = default;
  /// False while the reader is behind: no further text of the request is begun until it has caught
  /// up (RequestRunner::Wake).
  virtual bool KeepsUp() const = 0;
  /// Once for each text, as they are done: shorter ones may overtake longer ones.
  virtual void OnEncoded(EncodedText text) = 0;
  virtual void OnFinish(const Usage& usage) = 0;
  /// `usage` is what it has had until then.
  virtual void OnError(const absl::Status& status, const Usage& usage) = 0;
};

}  // namespace fmaserver::engine
