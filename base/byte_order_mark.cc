#include "base/byte_order_mark.h"

#include "base/refusal.h"

namespace fmaserver {

absl::StatusOr<std::string_view> WithoutByteOrderMark(std::string_view text,
                                                      std::string_view origin) {
  constexpr std::string_view kUtf8 = "\xEF\xBB\xBF";
  if (text.starts_with(kUtf8)) return text.substr(kUtf8.size());
  // Those of UTF-32 begin or end alike; what stands between is no text either way.
  if (text.starts_with("\xFF\xFE") || text.starts_with("\xFE\xFF") ||
      text.starts_with(std::string_view("\0\0\xFE\xFF", 4))) {
    return Refusal(At(origin, "encoding"), Words{"UTF-16 or UTF-32 (by its byte-order mark)"},
                   "UTF-8");
  }
  return text;
}

}  // namespace fmaserver
