// The mark that some editors put before a text.
#pragma once

#include <string_view>

#include "absl/status/statusor.h"

namespace fmaserver {

/// `text` without the mark of UTF-8. INVALID_ARGUMENT for the marks of UTF-16 and UTF-32, which
/// are other encodings; `origin` names the text.
absl::StatusOr<std::string_view> WithoutByteOrderMark(std::string_view text,
                                                      std::string_view origin);

}  // namespace fmaserver
