// Where control tokens ("<|im_end|>") are found in a text that spells them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/byte_range.h"

namespace fmaserver::model {

/// What becomes of a text that spells a control token.
enum class ControlTokens : uint8_t {
  kStayText,  ///< text of a user: its characters
  kAreFound,  ///< text of a chat template: the token
};

/// One answer for a whole text, or for each part of it.
class ControlPlaces {
 public:
  enum class Where : uint8_t { kInside, kOutside, kAcross };

  ControlPlaces(ControlTokens everywhere);  // NOLINT: says the same as the enum
  /// They are found inside of these parts, which ascend and do not touch.
  explicit ControlPlaces(std::vector<ByteRange> parts);

  /// How bytes [begin, end), one or more, lie to the parts where control tokens are found.
  Where Of(size_t begin, size_t end) const;

 private:
  std::vector<ByteRange> parts_;
};

}  // namespace fmaserver::model
