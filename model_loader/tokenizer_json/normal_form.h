// Unicode's normal forms (UAX #15), with the tables of utf8proc.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace fmaserver::model {

enum class NormalForm : uint8_t { kNfc, kNfd, kNfkc, kNfkd };

/// `text` must be valid UTF-8. Time is linear but for runs of combining marks, which are sorted;
/// memory besides the result is a few times the longest stretch without an ASCII character.
std::string ToNormalForm(std::string_view text, NormalForm form);

}  // namespace fmaserver::model
