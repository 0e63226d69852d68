// Replies of a store, in version 2 of its protocol (RESP), read by hiredis.
#pragma once

#include <hiredis/read.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace fmaserver::sessions {

struct Reply {
  enum class Kind : uint8_t { kNil, kText, kError, kNumber, kList };

  Kind kind = Kind::kNil;
  std::string text = {};  ///< of kText and kError
  int64_t number = 0;
  std::vector<Reply> list = {};

  bool is_text() const { return kind == Kind::kText; }
};

/// Makes replies of bytes that arrive in pieces of any size. Trusts nothing: what it allocates are
/// the bytes that it was given, at most twice, and some for each element that has arrived.
class ReplyReader {
 public:
  ReplyReader();
  ReplyReader(const ReplyReader&) = delete;
  ReplyReader& operator=(const ReplyReader&) = delete;

  /// Takes the next reply of the bytes that were added; nothing when it is not complete. DATA_LOSS
  /// for bytes that are not of the protocol, after which the reader is of no use.
  absl::StatusOr<std::optional<Reply>> Take();
  absl::Status Add(std::string_view bytes);

  /// How many bytes were added and not taken.
  size_t held() const { return reader_->len - reader_->pos; }

 private:
  struct FreeReader {
    void operator()(redisReader* reader) const { redisReaderFree(reader); }
  };

  std::unique_ptr<redisReader, FreeReader> reader_;
};

}  // namespace fmaserver::sessions
