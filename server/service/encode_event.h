// What a call of an encoder sends to its reader, free of any wire format.
#pragma once

#include <cstddef>
#include <cstdint>
#include <variant>

#include "server/engine/encode_request.h"

namespace fmaserver::service {

struct TextEncoded {
  engine::EncodedText text;
  int64_t truncated_tokens = 0;  ///< behind those that were read
};

struct EncodeSummary {
  int64_t tokens = 0;
  double queue_seconds = 0;
  double seconds = 0;  ///< after that
};

using EncodeEvent = std::variant<TextEncoded, EncodeSummary>;

/// For Outbox: every text is a message of its own.
size_t BytesOf(const EncodeEvent& event);
inline bool Merge(EncodeEvent& /*last*/, EncodeEvent& /*next*/) { return false; }

}  // namespace fmaserver::service
