#include "command_line/numbers.h"

#include <cctype>
#include <cmath>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "base/refusal.h"

namespace fmaserver {
namespace {

std::string Why(const std::string& text, const char* allowed) {
  return std::string(Refusal("value", text, allowed).message());
}

template <typename Number>
std::string ReadWhole(std::string& text, const char* allowed) {
  Number number = 0;
  if (!absl::SimpleAtoi(text, &number)) return Why(text, allowed);
  text = std::to_string(number);
  return {};
}

/// 2^10 for k, 2^20 for m, and so on; 0 for what is no unit.
int64_t UnitBytes(std::string_view unit) {
  constexpr std::string_view kPrefixes = "kmgtpe";
  if (unit.empty() || unit == "b") return 1;
  const size_t power = kPrefixes.find(unit.front());
  const std::string_view rest = unit.substr(1);
  if (power == std::string_view::npos || (rest != "" && rest != "b" && rest != "ib")) return 0;
  return int64_t{1} << (10 * (power + 1));
}

}  // namespace

std::string ReadSigned(std::string& text) {
  return ReadWhole<int64_t>(text, "whole numbers in decimal digits, of up to 63 bits");
}

std::string ReadUnsigned(std::string& text) {
  return ReadWhole<uint64_t>(text, "whole numbers in decimal digits from 0, of up to 64 bits");
}

std::string ReadReal(std::string& text) {
  double number = 0;
  if (absl::SimpleAtod(text, &number) && std::isfinite(number)) return {};
  return Why(text, "finite decimal numbers");
}

std::string ReadBytes(std::string& text) {
  const size_t digits = text.find_first_not_of("0123456789");
  const std::string number = text.substr(0, digits);
  const std::string unit = digits == std::string::npos
                               ? std::string()
                               : absl::AsciiStrToLower(absl::StripLeadingAsciiWhitespace(
                                     absl::string_view(text).substr(digits)));
  int64_t bytes = 0;
  const int64_t scale = UnitBytes(unit);
  if (scale == 0 || !absl::SimpleAtoi(number, &bytes) ||
      __builtin_mul_overflow(bytes, scale, &bytes)) {
    return Why(text, "a whole number of bytes, such as 65536, 64M or 2GiB");
  }
  text = std::to_string(bytes);
  return {};
}

}  // namespace fmaserver
